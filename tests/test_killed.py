"""The training command in processes of its own, killed and told to stop amid the work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.errors import EXIT_INTERRUPTED
from tests.commands import ROOT
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.workdir import METRICS_FILE

STOPS_WITHIN_S = 120  # seconds of a step and of saving, many times over


def recall(run: Path) -> float:
    """Recall@100 by window of a finished run."""
    metrics = json.loads((run / METRICS_FILE).read_text())
    return metrics["protocols"]["window"]["models"]["streamrec"]["Recall@100"]


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_killed_then_stopped_then_finished_equals_unbroken(
    dataset_dir: Path, workdir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "trainer.task", "--config=configs/smoke.py"),
        *(f"--dataset={dataset_dir}", f"--workdir={run}"),
    ]
    said: list[str] = []
    # Killed where 20 is saved and 30 is not; stopped soon after it has gone on from there.
    for number, at in ((signal.SIGKILL, "step 30 of"), (signal.SIGTERM, "step 40 of")):
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:
                said.append(line)
                if line.startswith(at):
                    break
            process.send_signal(number)
            begin = time.monotonic()
            process.wait(timeout=STOPS_WITHIN_S)
            assert time.monotonic() - begin < STOPS_WITHIN_S
            stopped = process.stderr.read()
    assert process.returncode == EXIT_INTERRUPTED, stopped
    assert stopped.startswith("interrupted: SIGTERM at step "), stopped
    assert any("resumed from" in line and "ckpt-20" in line for line in said)
    assert steps_in(run / CHECKPOINTS)[-1] >= 40
    assert not (run / METRICS_FILE).exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    newest = f"ckpt-{steps_in(run / CHECKPOINTS)[-1]}"
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == int(newest.split("-")[1])
    # Dropout is drawn anew after each start: equal but for that noise.
    assert recall(run) == pytest.approx(recall(workdir), abs=0.04)
