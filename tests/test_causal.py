"""The causal encoder: what a query's vector may depend on, and that one pass equals many rows."""

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.kinds import Causal, Sequence
from trainer.ages import AGE_BUCKETS, age_bucket
from trainer.history_encoder import Asked, HistoryEncoder

LENGTH, DIM, NOW, DAY_S = 6, 5, 1_700_000_000, 86_400
CAUSAL = Causal(width=8, blocks=2, heads=2, dropout=0.3)


def history(**given: object) -> HistoryEncoder:
    feature = Sequence(**({"max_length": LENGTH, "windows": (), "causal": CAUSAL} | given))
    layer = HistoryEncoder("history", feature, dropout=0.2, seed=1)
    asked_of(layer, [3.0, 1.0], ends=[2])
    draw = np.random.default_rng(0)
    for variable in layer.trainable_variables:  # biases and gains begin alike
        variable.assign_add(draw.normal(0, 0.3, variable.shape).astype(np.float32))
    return layer


def asked_of(
    layer: HistoryEncoder,
    days: list[float],
    ends: list[int],
    vectors: np.ndarray | None = None,
    training: bool = False,
) -> np.ndarray:
    """Vectors of queries that know of the first `ends` items, so old at the last query."""
    count = len(days)
    if vectors is None:
        vectors = np.random.default_rng(5).normal(size=(count, DIM)).astype(np.float32)
    asked = Asked(
        item_age=tf.constant([[int(day * DAY_S) for day in days]], tf.int64),
        sequence=tf.zeros([len(ends)], tf.int64),
        end=tf.constant(ends, tf.int64),
        age=tf.zeros([len(ends)], tf.int64),
    )
    mask = tf.ones([1, count], tf.bool)
    return layer(tf.constant(vectors[None]), mask, asked, training=training).numpy()


def test_a_later_item_changes_no_earlier_answer() -> None:
    layer = history()
    days, ends = [9.0, 5.0, 4.0, 4.0, 0.5], [0, 1, 2, 3, 4, 5]
    vectors = np.random.default_rng(5).normal(size=(5, DIM)).astype(np.float32)
    before = asked_of(layer, days, ends, vectors)
    assert not before[0].any()
    for item in range(5):
        changed = vectors.copy()
        changed[item] += 1
        after = asked_of(layer, days, ends, changed)
        differs = np.abs(after - before).max(1) > 1e-4
        np.testing.assert_array_equal(differs, np.array(ends) > item)


def test_order_and_times_matter() -> None:
    layer = history()
    vectors = np.random.default_rng(5).normal(size=(3, DIM)).astype(np.float32)
    plain = asked_of(layer, [9.0, 5.0, 4.0], [3], vectors)
    swapped = asked_of(layer, [9.0, 5.0, 4.0], [3], vectors[[1, 0, 2]])
    older = asked_of(layer, [90.0, 5.0, 4.0], [3], vectors)
    long_ago = asked_of(layer, [29.0, 25.0, 24.0], [3], vectors)
    for other in (swapped, older, long_ago):
        assert np.abs(other - plain).max() > 1e-3


@pytest.mark.parametrize("windows", [(), (LENGTH, 2)])
def test_one_pass_over_a_sequence_equals_a_row_for_each_query(windows: tuple[int, ...]) -> None:
    """Rows have padding at either end, and no more items than they know of."""
    others = {"session_length": 2, "age_dim": 3, "half_lives_days": (2.0,)} if windows else {}
    layer = history(windows=windows, **others)
    draw = np.random.default_rng(2)
    vectors = draw.normal(size=(2, LENGTH, DIM)).astype(np.float32)
    times = NOW - np.sort(draw.integers(0, 40 * DAY_S, (2, LENGTH)))[:, ::-1].copy()
    times[0, 3] = times[0, 4]
    # The first sequence asks four times, the second, which is shorter, twice.
    rows, ends, sequence = [4, 2], np.array([0, 2, 3, 6, 1, 4]), np.array([0, 0, 0, 0, 1, 1])
    asked_at = NOW + np.array([-9, -6, -3, 50_000, 0, 700]) * 1_000
    times[1, 4:] = 0
    raw = {
        "timestamp": tf.constant(asked_at, tf.int64),
        "history_timestamp": tf.constant(times, tf.int64),
        "sequence_rows": tf.constant(rows, tf.int64),
        "history_item#end": tf.constant(ends, tf.int64),
    }
    mask = tf.constant(times > 0)
    together = layer(tf.constant(vectors), mask, layer.look_up(raw)).numpy()
    assert together.shape == (6, sum(layer.widths([DIM])))
    for pad_left in (False, True):
        own = np.zeros((6, LENGTH, DIM), np.float32)
        own_times = np.zeros((6, LENGTH), np.int64)
        for row, (end, which) in enumerate(zip(ends, sequence, strict=True)):
            at = slice(LENGTH - end, LENGTH) if pad_left else slice(0, end)
            own[row, at], own_times[row, at] = vectors[which, :end], times[which, :end]
        row_raw = {
            "timestamp": raw["timestamp"],
            "history_timestamp": tf.constant(own_times),
        }
        apart = layer(tf.constant(own), tf.constant(own_times > 0), layer.look_up(row_raw))
        np.testing.assert_allclose(apart, together, atol=1e-5)


def test_compiles_and_gradients_reach_every_weight() -> None:
    layer = history(windows=(3,))
    vectors = tf.random.stateless_normal([4, LENGTH, DIM], [1, 2])
    mask = tf.constant([[True] * LENGTH] * 3 + [[True, True] + [False] * (LENGTH - 2)])
    age = tf.constant(np.arange(4 * LENGTH)[::-1].reshape(4, LENGTH) * DAY_S, tf.int64)
    age = tf.where(mask, age, 0)
    plain = layer(vectors, mask, age)
    compiled = tf.function(lambda *given: layer(*given), jit_compile=True)(vectors, mask, age)
    np.testing.assert_allclose(compiled, plain, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = tf.reduce_sum(layer(vectors, mask, age, training=True) ** 3)
    found = tape.gradient(loss, [vectors, *layer.trainable_variables])
    names = ["vectors", *(v.name for v in layer.trainable_variables)]
    for name, gradient in zip(names, found, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, name
    assert not found[0].numpy()[3, 2:].any()  # padding


def test_requests_may_have_no_place_for_a_history() -> None:
    none = tf.zeros([2, 0], tf.int64)
    found = history()(tf.zeros([2, 0, DIM]), tf.cast(none, tf.bool), none)
    np.testing.assert_array_equal(found, np.zeros((2, CAUSAL.width)))


def test_dropout_is_for_training_only() -> None:
    layer = history()
    still = [asked_of(layer, [2.0, 1.0], [2]) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    moving = [asked_of(layer, [2.0, 1.0], [2], training=True) for _ in range(2)]
    assert np.abs(moving[0] - moving[1]).max() > 1e-3


def test_ages_are_told_apart_by_doublings() -> None:
    ages = [0, 59, 60, 119, 120, 60 << 20, 60 << 30]
    found = age_bucket(tf.constant(ages, tf.int64)).numpy().tolist()
    assert found == [0, 0, 1, 1, 2, AGE_BUCKETS - 1, AGE_BUCKETS - 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"windows": ()}, r"features\.history\.windows: found \(\)"),
        ({"windows": (), "causal": CAUSAL, "age_dim": 2}, r"features\.history\.windows"),
        ({"causal": Causal(width=9)}, r"causal\.width: found 9, expected a multiple of 2"),
        ({"causal": Causal(blocks=0)}, r"causal\.blocks: found 0"),
        ({"causal": Causal(heads=0)}, r"causal\.heads: found 0"),
        ({"causal": Causal(dropout=1.0)}, r"causal\.dropout: found 1\.0"),
    ],
)
def test_refuses_what_cannot_be(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sequence(**given).validate("history")  # type: ignore[arg-type]
