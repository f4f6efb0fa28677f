"""Two processes that train as one, by `TF_CONFIG`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from configs.schema import Distribution
from tests.commands import ROOT
from tests.killed_training import assert_equal_weights
from tests.one_worker import config_of
from tests.quiet import QUIET
from tests.tiny_run import STEPS_PER_EPOCH, tiny_dataset
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.train import train_and_evaluate

STEPS = 2 * STEPS_PER_EPOCH


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def task(index: int) -> dict[str, object]:
    return {"type": "worker", "index": index}


@pytest.mark.slow
def test_two_workers_are_one(tmp_path: Path) -> None:
    config = config_of(Distribution.NONE)
    dataset = tiny_dataset(tmp_path, config)
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.one_worker", str(dataset), str(tmp_path / "two")],
            cwd=ROOT,
            env=os.environ
            | {
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": n}}
                )
            },
        )
        for n in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    train_and_evaluate(config, dataset, tmp_path / "one", console=QUIET)
    one, two = (steps_in(tmp_path / run / CHECKPOINTS) for run in ("one", "two"))
    assert one == two and one[-1] == STEPS
    assert_equal_weights(tmp_path / "one", tmp_path / "two", rtol=1e-4, atol=1e-5)
