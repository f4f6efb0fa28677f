"""What a running job shows, and what it keeps to itself."""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

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


class _StageHandler(logging.Handler):
    """Turns the runner's log into a line for each stage, with how long it took."""

    def __init__(self, display: Console, status: Status):
        super().__init__(logging.DEBUG)
        self._display = display
        self._status = status
        self._stage = ""
        self._since = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes note of the stage that a record names, if it does."""
        if not str(record.msg).startswith("Running bundle for stage"):
            return
        name = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        for token, stage in _STAGES.items():
            if token in name and stage != self._stage:
                self.finish()
                self._stage, self._since = stage, time.monotonic()
                self._status.update(f"{stage} …")

    def finish(self) -> None:
        """Writes the line of the stage that has ended."""
        if self._stage:
            self._display.print(f"  {self._stage}: {time.monotonic() - self._since:.1f} s")
        self._stage = ""


@contextmanager
def stage_lines(display: Console) -> Iterator[None]:
    """Shows which stage a local runner works on, within."""
    log = logging.getLogger(_RUNNER_LOG)
    before = log.level, log.propagate
    with display.status("starting …") as status:
        handler = _StageHandler(display, status)
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False
        try:
            yield
            handler.finish()
        finally:
            log.removeHandler(handler)
            log.level, log.propagate = before


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
