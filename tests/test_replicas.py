"""Two replicas are one device with the same batch: losses, gradients and weights."""

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Distribution
from tests.commands import run_command
from tests.tiny_run import tiny_config
from tests.two_replicas import STEPS
from trainer.replicas import is_chief


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    output = tmp_path_factory.mktemp("replicas") / "found.npz"
    done = run_command("tests.two_replicas", str(output))
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))


def test_two_replicas_are_one_device(found: dict[str, np.ndarray]) -> None:
    one = {name: value for name, value in found.items() if name.startswith("1/")}
    assert len(one) > 40 and len(set(one["1/loss"])) == STEPS  # it learns
    for name, value in one.items():
        other = found[name.replace("1/", "2/", 1)]
        np.testing.assert_allclose(other, value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps_per_execution": 2}, "train.steps_per_execution: found 2, expected 1"),
        ({"symmetric": True}, "train.distribution: found 'mirrored', expected none"),
    ],
)
def test_what_replicas_cannot_do_is_refused(changes: dict[str, object], says: str) -> None:
    config = tiny_config()
    config.train.distribution = Distribution.MIRRORED
    for name, value in changes.items():
        setattr(config.loss if name == "symmetric" else config.train, name, value)
    with pytest.raises(UserError, match=says):
        config.validate()


class _InCluster:
    """Of a strategy, what tells who this process is."""

    def __init__(self, jobs: dict[str, int], task_type: str, task_id: int) -> None:
        spec = {job: [f"host{i}:2222" for i in range(n)] for job, n in jobs.items()}
        self.cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(spec), task_type=task_type, task_id=task_id
        )


@pytest.mark.parametrize("jobs", [{"worker": 2}, {"chief": 1, "worker": 2}])
def test_one_process_of_a_cluster_writes(jobs: dict[str, int]) -> None:
    writers = [
        (job, task)
        for job, number in jobs.items()
        for task in range(number)
        if is_chief(_InCluster(jobs, job, task))
    ]
    assert writers == [(next(iter(jobs)), 0)]


def test_a_process_alone_writes() -> None:
    assert is_chief(tf.distribute.get_strategy())
