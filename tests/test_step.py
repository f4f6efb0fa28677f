"""Ways to take the same steps: several in one call, compiled, in bfloat16."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Config, Precision
from tests.fresh_model import batches_of, new_model, new_optimizer
from tests.killed_training import assert_equal_weights, killed_once_saved
from tests.quiet import QUIET
from tests.tiny_run import STEPS_PER_EPOCH, tiny_config, tiny_dataset
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.dataset import Dataset, open_dataset
from trainer.step import TrainStep
from trainer.train import train_and_evaluate


@pytest.fixture(scope="module")
def config() -> Config:
    config = tiny_config()
    config.model.dropout = config.train.history_dropout = 0.0  # draws differ between ways
    config.eval.protocols = ()
    return config


@pytest.fixture(scope="module")
def root(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("tiny"), config)


@pytest.fixture(scope="module")
def dataset(config: Config, root: Path) -> Dataset:
    return open_dataset(root, config)


def losses(config: Config, dataset: Dataset, *, at_once: int = 1, **changes: Any) -> np.ndarray:
    """Of the first epoch's steps, and the mean magnitude of the weights after them."""
    config = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(config.train, name, value)
    model = new_model(config, dataset)
    optimizer = new_optimizer(config, model, total_steps=STEPS_PER_EPOCH)
    batches = iter(batches_of(config, dataset, model))
    take = TrainStep(model, optimizer, tf.distribute.get_strategy())
    found = [take(batches, at_once)[0] for _ in range(STEPS_PER_EPOCH // at_once)]
    assert all(v.dtype == tf.float32 for v in model.trainable_variables)
    size = [float(tf.reduce_mean(tf.abs(v))) for v in model.trainable_variables]
    return np.concatenate([*found, size])


@pytest.fixture(scope="module")
def expected(config: Config, dataset: Dataset) -> np.ndarray:
    return losses(config, dataset)


def test_several_steps_in_one_call(config: Config, dataset: Dataset, expected: np.ndarray) -> None:
    assert expected[STEPS_PER_EPOCH - 1] < expected[0]
    np.testing.assert_allclose(losses(config, dataset, at_once=3), expected, rtol=1e-5)


def test_compiled_by_xla(config: Config, dataset: Dataset, expected: np.ndarray) -> None:
    found = losses(config, dataset, jit_compile=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (found != expected).any()  # other kernels: it was compiled


def test_bfloat16_stays_near_float32(
    config: Config, dataset: Dataset, expected: np.ndarray
) -> None:
    found = losses(config, dataset, precision=Precision.MIXED_BFLOAT16)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert not np.allclose(found, expected, rtol=1e-5)


def test_several_steps_at_once_resume_where_they_were_killed(
    config: Config, root: Path, tmp_path: Path
) -> None:
    config = copy.deepcopy(config)
    config.train.steps_per_execution = 5  # does not divide 4, where checkpoints are due, nor 6

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_and_evaluate(config, root, whole, console=QUIET)
    with killed_once_saved(8):
        train_and_evaluate(config, root, broken, console=QUIET)
    assert steps_in(broken / CHECKPOINTS) == [6, 8]
    train_and_evaluate(config, root, broken, console=QUIET)
    assert_equal_weights(whole, broken, rtol=1e-4, atol=1e-6)
