"""`python -m serving.daily` for two days in a row, every step the real one, killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from preprocessing.simulate import tables_in
from serving.publishing import REPORT, twin_of, versions
from tests.commands import ROOT, said_by

STEPS = ["preprocess", "train", "export", "gate", "publish"]


class Days:
    """The command, for one day after the other."""

    def __init__(self, root: Path, logs: Path) -> None:
        self.days, self.output, self.logs = root / "days", root / "models" / "retrieval", logs

    def command(self, day: str, events: Path) -> list[str]:
        where = tables_in(self.logs) | {"events": str(events)}
        return [
            *(sys.executable, "-m", "serving.daily", "--config=configs/smoke.py", "--twin"),
            *(f"--{name}={path}" for name, path in where.items()),
            *(f"--workdir={self.days}", f"--output={self.output}", f"--day={day}"),
        ]

    def run(self, day: str, events: Path) -> tuple[dict[str, Any], str]:
        """The summary, and all that was printed."""
        done = subprocess.run(
            self.command(day, events), cwd=ROOT, capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stdout

    def kill(self, day: str, events: Path, when: Callable[[], bool]) -> None:
        """Starts it, and kills it once something is so."""
        with subprocess.Popen(
            self.command(day, events), cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
        ) as process:
            while not when():
                assert process.poll() is None, "ended before it could be killed"
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)


HANDS_ON = """
import sys
from absl import flags
from configs.cli import config_arguments, define_config
config = define_config()
flags.DEFINE_string("events", "", "")
flags.FLAGS(sys.argv)
for argument in config_arguments(sys.argv[1:]):
    print(argument)
print(config().train.epochs, config().data.repeats, config().data.form.value)
"""


@pytest.mark.parametrize(
    "given",
    [
        "--config=configs/smoke.py --config.train.epochs=7 --config.data.repeats=true",
        "--config configs/smoke.py --config.train.epochs 7 --config.data.repeats",
        "-config configs/smoke.py --events --config --config.train.epochs=7 --config.data.repeats",
    ],
)
def test_the_steps_get_the_config_however_it_is_spelled(given: str) -> None:
    *handed_on, seen = said_by(HANDS_ON, *given.split(), "--config.data.form=row")
    assert [flag.partition("=")[0].lstrip("-") for flag in handed_on] == [
        *("config", "config.train.epochs", "config.data.repeats", "config.data.form")
    ]
    assert seen == "7 True row"
    # What is handed on says the same, and so it does when it is handed on once more.
    assert said_by(HANDS_ON, *handed_on) == [*handed_on, seen]


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_two_days_killed_within_every_step(logs: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(logs / "events" / "*.parquet")
    before = tmp_path / "events.parquet"
    events.filter(pl.col("timestamp") < events["timestamp"].max() - 86_400).write_parquet(before)
    days = Days(tmp_path, logs)
    day = days.days / "2025-01-28"
    log = day / "logs"

    def said(step: str, text: str) -> Callable[[], bool]:
        path = log / f"{step}.log"
        return lambda: path.exists() and text in path.read_text()

    for when in (
        lambda: any((day / "dataset").glob("data-*")),
        said("train", "step 30 of"),
        said("export", "saving"),
        said("gate", "gate:"),
        (log / "publish.log").exists,
    ):
        days.kill(day.name, before, when)
        assert versions(days.output) in ([], [1])  # the last kill may come too late
    first, shown = days.run(day.name, before)
    assert versions(days.output) == versions(twin_of(days.output)) == [1]
    assert first["model"] == str(days.output / "1") and list(first["steps"]) == STEPS
    assert all(first["steps"][step]["resumed"] for step in STEPS[:4])
    assert "resumed from" in (log / "train.log").read_text()
    assert all(step in shown for step in STEPS)
    hidden = [p for p in days.output.iterdir() if p.name != "1"]
    assert [p for p in hidden if ".candidate-" in p.name] == []

    second, _ = days.run("2025-01-29", logs / "events")
    assert versions(days.output) == versions(twin_of(days.output)) == [1, 2]
    assert not any(step["resumed"] for step in second["steps"].values())
    report = json.loads((days.output / "2" / REPORT).read_text())
    checks = report["gate"]["checks"]
    assert checks["live"] == {"version": 1, "not_compared": None}
    assert {"candidate", "live", "popularity"} == set(checks["quality"]["recall"])
    assert checks["replay without scann"]["problems"] == []
    again, _ = days.run("2025-01-29", logs / "events")
    assert again["model"] == second["model"] and versions(days.output) == [1, 2]
