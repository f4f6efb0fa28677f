"""How often items are drawn as positives, against counting."""

import numpy as np
import tensorflow as tf

from trainer.shares import DailyShares, OverallShares

ITEMS, ROWS = 12, 400


def test_overall_shares() -> None:
    shares = OverallShares(np.array([0, 1, 3, 0, 6]))
    found = shares(tf.constant([4, 2, 3], tf.int64), tf.constant([9], tf.int64))
    np.testing.assert_allclose(found, [0.6, 0.3, 0.0], rtol=1e-6)


def test_daily_shares_are_those_of_the_batchs_days() -> None:
    rng = np.random.default_rng(3)
    item, day = rng.integers(1, ITEMS, ROWS), rng.integers(20_000, 20_030, ROWS)
    shares = DailyShares(item, day)
    asked = np.arange(ITEMS + 1)
    for batch in ([20_004], [20_010, 20_007, 20_012], [19_000, 20_001], [20_029, 20_400]):
        inside = (day >= min(batch)) & (day <= max(batch))
        expected = np.bincount(item[inside], minlength=ITEMS + 1) / inside.sum()
        found = shares(tf.constant(asked), tf.constant(batch, tf.int64))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.numpy().sum() > 0.99 and found.numpy()[[0, ITEMS]].max() == 0
