import numpy as np
import pytest
import tensorflow as tf

from trainer.frequency import StreamingFrequency

ITEMS, ROWS = 200, 256


def zipf() -> np.ndarray:
    q = 1 / np.arange(1, ITEMS + 1)
    return q / q.sum()


def feed(
    frequency: StreamingFrequency, q: np.ndarray, batches: int, rng: np.random.Generator
) -> None:
    for _ in range(batches):
        frequency.update(tf.constant(rng.choice(ITEMS, ROWS, p=q) + 1))


def errors(frequency: StreamingFrequency, q: np.ndarray) -> np.ndarray:
    """Estimate over truth, less 1."""
    return frequency.share(tf.range(1, ITEMS + 1, dtype=tf.int64)).numpy() / q - 1


def test_one_item_by_hand() -> None:
    """Rows 3 and 5, then 4 and 10 rows later: gaps 3, 2, 4, 6."""
    frequency = StreamingFrequency(arrays=1, buckets=1_000, rate=0.4, seed=0)
    for rows in ([9, 9, 7, 9, 7], [9, 9, 9, 7], [9, 9, 9, 9, 9, 7]):
        frequency.update(tf.constant(rows, tf.int64))
    # The first call's two gaps are averaged (2.5), the third weighs 1 / 3 < 0.4, so 0.4.
    gap = 2.5 + 0.4 * (4 - 2.5)
    gap += 0.4 * (6 - gap)
    np.testing.assert_allclose(frequency.share(tf.constant([7, 8], tf.int64)), [1 / gap, 0])


def test_known_frequencies_that_shift_halfway() -> None:
    """The popular become rare and the rare popular; estimates follow."""
    rng = np.random.default_rng(0)
    frequency = StreamingFrequency(arrays=3, buckets=4_096, rate=0.05, seed=0)
    before, after = zipf(), zipf()[::-1]
    feed(frequency, before, 400, rng)
    found = errors(frequency, before)
    # Gaps are geometric: a mean over about 2 / rate of them is off by sqrt(rate / 2).
    assert abs(found.mean()) < 0.05
    assert found.std() < 2 * np.sqrt(0.05 / 2)
    stale = errors(frequency, after)
    assert np.abs(stale[:20]).min() > 3 and np.abs(stale[-20:]).min() > 0.7

    feed(frequency, after, 400, rng)
    # A rare item must come up a few times before it counts as rare: leave the rarest out.
    common = after > 1 / 1_000
    found = errors(frequency, after)[common]
    assert common.sum() > 100
    assert abs(found.mean()) < 0.05
    assert found.std() < 2 * np.sqrt(0.05 / 2)


def test_an_item_of_every_row_does_not_saturate_below_its_share() -> None:
    """Counted in batches it would read 1 at any share that fills every batch."""
    frequency = StreamingFrequency(arrays=1, buckets=64, rate=0.05, seed=0)
    rng = np.random.default_rng(1)
    q = np.array([0.6, 0.4])
    for _ in range(100):
        frequency.update(tf.constant(rng.choice(2, ROWS, p=q) + 1))
    np.testing.assert_allclose(frequency.share(tf.constant([1, 2], tf.int64)), q, rtol=0.15)


@pytest.mark.parametrize("arrays", [1, 5])
def test_several_hashes_make_up_for_collisions(arrays: int) -> None:
    """Algorithm 3: an item's own bucket is the one with the longest gap."""
    frequency = StreamingFrequency(arrays=arrays, buckets=256, rate=0.02, seed=3)
    feed(frequency, zipf(), 300, np.random.default_rng(2))
    overestimated = (errors(frequency, zipf()) > 0.5).mean()
    assert overestimated > 0.3 if arrays == 1 else overestimated < 0.1
