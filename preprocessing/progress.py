"""What a running job shows, and what it keeps to itself."""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.metrics import Metrics
from rich.console import Console
from rich.status import Status

from configs.errors import UserError

# Beam's local runner says here, and only here, which of its stages it works on.
_RUNNER_LOG = "apache_beam.runners.portability.fn_api_runner.fn_runner.run_bundle"
_STAGES = {
    "_read-ParDo-Read-": "reading and checking tables",
    "_deduplicate-": "putting events in order",
    "_label-": "labelling",
    "_catalog_": "numbering items",
    "_item-statistics_": "counting items by day",
    "_rows-": "features of each row, as of its moment",
    "_write-rows_": "writing rows",
    "_write-users_": "writing users",
}

_COUNTS = logging.getLogger(f"{__name__}.counts")
_COUNTED = "counted %d %s"
_LINE_EVERY_S = 30.0


def count(number: int, unit: str) -> None:
    """Tells from within a stage that so much more of it is done.

    A distributed runner shows it as a counter of its own; a local one, whose workers are threads
    of this process, shows it on the stage's line.

    Args:
        number: of things done since the last call.
        unit: what they are, in the plural: the same in each call of one stage.
    """
    Metrics.counter("streamrec", unit).inc(number)
    _COUNTS.debug(_COUNTED, number, unit)


class _StageHandler(logging.Handler):
    """Turns the runner's log into a line for each stage, with what it did and how long it took."""

    def __init__(self, display: Console, status: Status):
        super().__init__(logging.DEBUG)
        self._display = display
        self._status = status
        self._stage = ""
        self._since = self._shown = time.monotonic()
        self._counts: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Takes note of the stage or the count that a record names, if it does."""
        if record.msg == _COUNTED and isinstance(record.args, tuple):
            number, unit = record.args
            self._count(int(str(number)), str(unit))
            return
        if not str(record.msg).startswith("Running bundle for stage"):
            return
        name = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        for token, stage in _STAGES.items():
            if token in name and stage != self._stage:
                self.finish()
                self._stage, self._since = stage, time.monotonic()
                self._shown = self._since
                self._status.update(f"{stage} …")

    def _count(self, number: int, unit: str) -> None:
        self._counts[unit] = self._counts.get(unit, 0) + number
        self._status.update(f"{self._stage} … {self._counted()}")
        # A file or pipe shows no status; whoever follows it must see that the job goes on.
        now = time.monotonic()
        if not self._display.is_terminal and now - self._shown >= _LINE_EVERY_S:
            self._shown = now
            self._display.print(f"  {self._stage} … {self._counted()}")

    def _counted(self) -> str:
        return ", ".join(f"{number:,} {unit}" for unit, number in self._counts.items())

    def finish(self) -> None:
        """Writes the line of the stage that has ended."""
        if self._stage:
            counted = f"{self._counted()}, " if self._counts else ""
            elapsed = time.monotonic() - self._since
            self._display.print(f"  {self._stage}: {counted}{elapsed:.1f} s")
        self._stage = ""
        self._counts = {}


@contextmanager
def stage_lines(display: Console) -> Iterator[None]:
    """Shows which stage a local runner works on, and how far it is, within."""
    logs = [logging.getLogger(_RUNNER_LOG), _COUNTS]
    before = [(log.level, log.propagate) for log in logs]
    with display.status("starting …") as status:
        handler = _StageHandler(display, status)
        for log in logs:
            log.addHandler(handler)
            log.setLevel(logging.DEBUG)
            log.propagate = False
        try:
            yield
            handler.finish()
        finally:
            for log, (level, propagate) in zip(logs, before, strict=True):
                log.removeHandler(handler)
                log.setLevel(level)
                log.propagate = propagate


@contextmanager
def stderr_aside() -> Iterator[None]:
    """Keeps what this process and its workers write to stderr, and shows it only on a crash.

    Workers print a traceback for what is a user's mistake, which the caller says in one line.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        crashed = True
        try:
            yield
            crashed = False
        except UserError:
            crashed = False
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if crashed:
                aside.seek(0)
                sys.stderr.write(aside.read().decode(errors="replace"))
