"""Two processes that train as one, by `TF_CONFIG`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Distribution
from tests.conftest import QUIET
from tests.one_worker import config_of
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
            cwd=Path(__file__).parents[1],
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
    one, two = (tmp_path / run / CHECKPOINTS for run in ("one", "two"))
    assert steps_in(one) == steps_in(two)
    path = f"ckpt-{STEPS}"
    for name, _ in tf.train.list_variables(str(one / path)):
        if name.endswith("VARIABLE_VALUE"):
            value, other = (tf.train.load_variable(str(run / path), name) for run in (one, two))
            np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-5, err_msg=name)
