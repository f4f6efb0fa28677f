import numpy as np
import pytest
import tensorflow as tf

from configs.kinds import Sequence
from trainer.history_encoder import HistoryEncoder

DAY_S, NOW = 86_400, 1_700_000_000
LENGTH, DIM = 5, 3


def pool(history: HistoryEncoder, ages: list[list[float]], pad_left: bool = False) -> np.ndarray:
    """Means of one-hot vectors are the weights themselves: [rows, means, LENGTH]."""
    times = np.zeros((len(ages), LENGTH), np.int64)
    mask = np.zeros((len(ages), LENGTH), bool)
    for row, each in enumerate(ages):
        start = LENGTH - len(each) if pad_left else 0
        times[row, start : start + len(each)] = [NOW - int(age * DAY_S) for age in each]
        mask[row, start : start + len(each)] = True
    raw = {"timestamp": tf.fill([len(ages)], tf.constant(NOW, tf.int64))}
    looked_up = history.look_up(raw | {"history_timestamp": tf.constant(times)})
    vectors = tf.eye(LENGTH, batch_shape=[len(ages)])
    pooled = history(vectors, tf.constant(mask), looked_up)
    return pooled.numpy().reshape(len(ages), -1, LENGTH)


@pytest.mark.parametrize("pad_left", [False, True])
def test_means_by_place_and_by_age_by_hand(pad_left: bool) -> None:
    feature = Sequence(max_length=LENGTH, windows=(3, 1), half_lives_days=(2.0, 30.0))
    history = HistoryEncoder("history", feature, dropout=0.0, seed=1)
    ages = [[9.0, 5.0, 4.0, 0.0], [400.0, 398.0], [], [1.0, 1.0]]
    found = pool(history, ages, pad_left)
    assert found.shape == (4, 4, LENGTH)
    for row, each in enumerate(ages):
        start = LENGTH - len(each) if pad_left else 0
        place = np.arange(len(each))[::-1]
        age = np.array(each)
        weights = [place < 3, place < 1, 0.5 ** (age / 2), 0.5 ** (age / 30)]
        for mean, weight in zip(found[row], weights, strict=True):
            expected = np.zeros(LENGTH)
            if len(each):
                expected[start : start + len(each)] = weight / weight.sum()
            np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_half_lives_can_tell_a_short_absence_from_a_long_one() -> None:
    """Where places say nothing: both rows have the same items in the same order."""
    feature = Sequence(max_length=LENGTH, windows=(5,), half_lives_days=(3.0,))
    found = pool(HistoryEncoder("history", feature, dropout=0.0, seed=1), [[2.0, 1.0], [90.0, 1.0]])
    np.testing.assert_array_equal(found[0, 0], found[1, 0])
    assert found[0, 1, 0] > 0.4 and found[1, 1, 0] < 0.01


def test_dropout_hides_items_in_training_only() -> None:
    feature = Sequence(max_length=LENGTH, windows=(5,), half_lives_days=(3.0,))
    history = HistoryEncoder("history", feature, dropout=0.5, seed=1)
    raw = {"timestamp": tf.fill([2_000], tf.constant(NOW, tf.int64))}
    looked_up = history.look_up(
        raw | {"history_timestamp": tf.fill([2_000, LENGTH], tf.constant(NOW, tf.int64))}
    )
    vectors = tf.eye(LENGTH, batch_shape=[2_000])
    mask = tf.ones([2_000, LENGTH], tf.bool)
    np.testing.assert_allclose(history(vectors, mask, looked_up), 1 / LENGTH, rtol=1e-6)
    trained = history(vectors, mask, looked_up, training=True).numpy()
    assert (trained == 0).mean() == pytest.approx(0.5, abs=0.03)
