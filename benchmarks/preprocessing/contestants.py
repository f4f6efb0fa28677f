"""Ways to preprocess a log, each run in a process of its own and measured from outside.

python -m benchmarks.preprocessing.contestants NAME LOG OUTPUT

runs one and prints its measurements as JSON: `run` starts that.
"""

import enum
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.schema import Config
from preprocessing.simulate import tables_in

_SAMPLE_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Contestant(enum.Enum):
    """Who is measured."""

    JOB = "job"  # in one process, as by default
    JOB_TWO = "job_two_workers"  # Beam's runner with two worker processes
    POLARS = "polars"
    BEAM = "elementwise_beam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run.

    Attributes:
        seconds: from the tables to the files, without starting Python and importing.
        cpu_s: of the process and its children, within them.
        peak_bytes: resident, all processes together; memory that they share counts more than once.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int


def run(contestant: Contestant, log: Path, output: Path) -> Measured:
    """Runs a contestant in a fresh process; `output` is made anew.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __spec__.name, contestant.value, str(log), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        peak = _Peak(process.pid)
        said, complaint = process.communicate()
        peak_bytes = peak.stop()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, said, complaint)
    found = json.loads(said.splitlines()[-1])
    return Measured(seconds=found["seconds"], cpu_s=found["cpu_s"], peak_bytes=peak_bytes)


class _Peak:
    """Samples the resident memory of a process and all below it."""

    def __init__(self, pid: int):
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The peak in bytes."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._peak = max(self._peak, _resident(self._pid))


def _resident(root: int) -> int:
    """Resident bytes of a process and its descendants."""
    parent, pages = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # Fields after the command's name, which may hold anything: state, parent, ...
            after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            pages[int(entry.name)] = int((entry / "statm").read_text().split()[1])
            parent[int(entry.name)] = int(after_name[1])
        except OSError:
            continue  # It has ended meanwhile.
    total = 0
    for pid in parent:
        above = pid
        while above != root and above in parent:
            above = parent[above]
        total += pages[pid] if above == root else 0
    return total * _PAGE


def _job(*beam_options: str) -> Callable[[Config, Mapping[str, str], Path], Any]:
    def preprocess_quietly(config: Config, tables: Mapping[str, str], output: Path) -> Any:
        from rich.console import Console

        from preprocessing.job import preprocess

        display = Console(quiet=True)
        return preprocess(
            config, tables=tables, output=output, beam_options=beam_options, display=display
        )

    import preprocessing.job  # noqa: F401

    return preprocess_quietly


def _prepared(contestant: Contestant) -> Callable[[Config, Mapping[str, str], Path], Any]:
    """The contestant, with all imported that it needs."""
    match contestant:
        case Contestant.JOB:
            return _job()
        case Contestant.JOB_TWO:
            return _job("--direct_running_mode=multi_processing", "--direct_num_workers=2")
        case Contestant.POLARS:
            from benchmarks.preprocessing import polars_peer

            return polars_peer.run
        case Contestant.BEAM:
            from benchmarks.preprocessing import beam_peer

            return beam_peer.run


def _main(name: str, log: str, output: str) -> None:
    from benchmarks.preprocessing import setting

    work = _prepared(Contestant(name))
    config, tables = setting.config(), tables_in(Path(log))
    before, start = os.times(), time.monotonic()
    work(config, tables, Path(output))
    seconds, after = time.monotonic() - start, os.times()
    cpu_s = sum(after[:4]) - sum(before[:4])
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_s": cpu_s}) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
