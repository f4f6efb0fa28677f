"""The steps of a day, each a process of its own, remembered so that a second run goes on."""

import ctypes
import fcntl
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.errors import UserError
from configs.files import write_json
from serving.publishing import candidate_of

STATE = "day.json"
_LOCK = ".lock"
_PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a day.

    Attributes:
        name: of the step.
        command: module and flags, after `python -m`.
        needs: paths that must exist for the step to count as done.
        until: the step that takes away what this one made; once it was begun, needs are moot.
    """

    name: str
    command: Sequence[str]
    needs: Sequence[Path]
    until: str | None = None


def is_day(name: str) -> bool:
    """Whether a name is a date as YYYY-MM-DD; ISO 8601 knows others, such as 2023-W48-5."""
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def steps_of_day(
    day_dir: Path,
    output: Path,
    *,
    tables: dict[str, str],
    config_flags: Sequence[str],
    export_flags: Sequence[str],
) -> list[Step]:
    """From logs to a published version: preprocess, train, export, gate, publish.

    Args:
        day_dir: where the day's dataset and run are.
        output: base path of the model's versions.
        tables: flags of `preprocessing.run` that say where the raw tables are.
        config_flags: `--config` and overrides, as given.
        export_flags: more flags of `serving.export`.
    """
    dataset, train = day_dir / "dataset", day_dir / "train"
    candidate = candidate_of(output, day_dir.name)
    where = [f"--{name}={value}" for name, value in tables.items() if value]
    return [
        Step(
            name="preprocess",
            command=["preprocessing.run", *config_flags, *where, f"--output={dataset}"],
            needs=[dataset / "manifest.json"],
        ),
        Step(
            name="train",
            command=[
                "trainer.task",
                *config_flags,
                f"--dataset={dataset}",
                f"--workdir={train}",
            ],
            needs=[train / "run.json"],
        ),
        Step(
            name="export",
            command=[
                "serving.export",
                f"--workdir={train}",
                f"--output={output}",
                f"--candidate={day_dir.name}",
                *export_flags,
            ],
            needs=[candidate],
            until="publish",
        ),
        Step(
            name="gate",
            command=["serving.gate", f"--candidate={candidate}", f"--workdir={train}"],
            needs=[candidate],
            until="publish",
        ),
        Step(name="publish", command=["serving.publish", f"--candidate={candidate}"], needs=[]),
    ]


def run_day(day_dir: Path, steps: Sequence[Step], *, console: Console) -> dict[str, Any]:
    """Runs the steps that are not done yet, in order.

    A step is done when its process ended well and what it made is still there; the steps after one
    that had to be run are run again. A step that was killed is run again, and goes on from what it
    kept. A step's process is killed with this one. Output goes to `DAY/logs/STEP.log`.

    Returns:
        By step: `seconds`, `result`, and whether it was `resumed` from an earlier run.

    Raises:
        UserError: nothing can be written there, another run of this day is at work, its state
            cannot be read, or a step failed.
    """
    try:
        (day_dir / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir: {day_dir} cannot be made: {error.strerror}") from None
    with _only_one(day_dir):
        state = _read_state(day_dir)
        summary: dict[str, Any] = {}
        again = False
        for step in steps:
            if not again and _is_done(step, state):
                console.print(f"{step.name}: done before")
                summary[step.name] = {**_shown(state[step.name]), "resumed": True}
                continue
            if not again:  # what follows is to be made of what this step makes
                state = {each.name: state[each.name] for each in steps[: steps.index(step)]}
                again = True
            told = f"{step.name}: python -m {shlex.join(step.command)}"
            console.print(told, markup=False, soft_wrap=True)
            state[step.name] = {"command": list(step.command), "begun": True}
            write_json(day_dir / STATE, state)
            try:
                state[step.name] = _run(step, day_dir / "logs" / f"{step.name}.log")
            except UserError:
                del state[step.name]
                raise
            finally:
                write_json(day_dir / STATE, state)
            summary[step.name] = {**_shown(state[step.name]), "resumed": False}
    return summary


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """One table: steps down, what each took and made."""
    table = Table()
    for header in ("step", "seconds", "result"):
        table.add_column(header, justify="right" if header == "seconds" else "left")
    for name, found in summary.items():
        seconds = "before" if found["resumed"] else f"{found['seconds']:.1f}"
        brief = {k: v for k, v in found["result"].items() if not isinstance(v, dict | list)}
        table.add_row(name, seconds, ", ".join(f"{k} {v}" for k, v in brief.items()))
    console.print(table)


def _is_done(step: Step, state: dict[str, Any]) -> bool:
    before = state.get(step.name)
    if before is None or "result" not in before or before["command"] != list(step.command):
        return False
    return step.until in state or all(path.exists() for path in step.needs)


def _shown(done: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": done["seconds"], "result": done["result"]}


def _run(step: Step, log: Path) -> dict[str, Any]:
    begin = time.monotonic()
    with log.open("wb") as out:
        code = subprocess.run(
            [sys.executable, "-m", *step.command],
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        ).returncode
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0:
        errors = [line for line in lines if line.startswith("error: ")]
        why = errors[-1].removeprefix("error: ") if errors else f"exit code {code}"
        raise UserError(f"{step.name}: {why} (all of it in {log})")
    results = [line for line in lines if line.startswith("{")]
    return {
        "command": list(step.command),
        "seconds": round(time.monotonic() - begin, 1),
        "result": json.loads(results[-1]) if results else {},
    }


def _die_with_parent() -> None:
    """Has the kernel kill this process when its parent is gone: a day has one step at work."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _only_one(day_dir: Path) -> Iterator[None]:
    with (day_dir / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--workdir: another run is at work in {day_dir}") from None
        yield


def _read_state(day_dir: Path) -> dict[str, Any]:
    path = day_dir / STATE
    if not path.exists():
        return {}
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: found no JSON: {error}; without it the day begins anew") from None
    is_ours = isinstance(state, dict) and all(
        isinstance(each, dict) and "command" in each for each in state.values()
    )
    if not is_ours:
        raise UserError(f"{path}: found no state of a day's steps; without it the day begins anew")
    return state
