"""Which rows of a pool come into a batch together."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY
from tests.fresh_model import batches_of, new_model
from trainer.batch_order import order_of_rows
from trainer.dataset import open_dataset

ROWS, BATCH, DAYS = 1_003, 50, 100


def order(seed: int, batch_days: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers in order, and their times in days."""
    time = np.random.default_rng(0).integers(0, DAYS * SECONDS_PER_DAY, ROWS)
    found = order_of_rows(
        tf.constant(time),
        seed=tf.constant([seed, 5], tf.int64),
        batch_size=BATCH,
        batch_days=batch_days,
    ).numpy()
    return found, time[found] / SECONDS_PER_DAY


@pytest.mark.parametrize("batch_days", [0.0, 0.01, 4.0])
def test_every_row_once_in_an_order_of_the_seed(batch_days: float) -> None:
    found, _ = order(1, batch_days)
    assert sorted(found) == list(range(ROWS))
    np.testing.assert_array_equal(found, order(1, batch_days)[0])
    assert (found != order(2, batch_days)[0]).mean() > 0.9


def test_batches_are_near_in_time_and_in_any_order() -> None:
    days = order(1, 4.0)[1][: ROWS // BATCH * BATCH].reshape(-1, BATCH)
    spread = days.max(1) - days.min(1)
    # Of a batch's own width in time, the days that rows move by, and at one place the rest's.
    assert spread.max() < DAYS * BATCH / ROWS * 1.5 + 4 + DAYS * 3 / ROWS * 5
    assert spread.min() > 4
    assert abs(np.corrcoef(np.arange(len(days)), days.mean(1))[0, 1]) < 0.6
    assert (order(1, 0.0)[1][:BATCH].max() - order(1, 0.0)[1][:BATCH].min()) > DAYS / 2


def test_what_fills_no_batch_is_of_any_time() -> None:
    left_out = np.array([order(seed, 0.01)[1][-(ROWS % BATCH) :] for seed in range(60)])
    assert (left_out.max(1) - left_out.min(1)).max() < 3
    middle = left_out.mean(1)
    assert middle.min() < DAYS / 5 and middle.max() > DAYS * 4 / 5


def test_fewer_rows_than_a_batch_are_left() -> None:
    found = order_of_rows(
        tf.constant([5, 3, 4], tf.int64),
        seed=tf.constant([1, 5], tf.int64),
        batch_size=BATCH,
        batch_days=1.0,
    )
    assert sorted(found.numpy()) == [0, 1, 2]


def test_batches_of_a_dataset(config: Config, dataset_dir: Path) -> None:
    dataset = open_dataset(dataset_dir, config)
    model = new_model(config, dataset)

    def epoch(batch_days: float) -> list[dict[str, np.ndarray]]:
        train = replace(config.train, batch_days=batch_days, batch_size=40)
        found = batches_of(replace(config, train=train), dataset, model)
        return list(found.as_numpy_iterator())

    near, any_time = epoch(1.0), epoch(0.0)
    assert len(near) == len(any_time) == dataset.manifest.rows("train") // 40

    def spread(batches: list[dict[str, np.ndarray]]) -> float:
        return float(np.mean([np.ptp(b["row_day"]) for b in batches]))

    assert spread(near) < 3 < 8 < spread(any_time)
    users = [Counter(np.concatenate([b["user"] for b in found])) for found in (near, any_time)]
    assert (users[0] & users[1]).total() >= (len(near) - 1) * 40
