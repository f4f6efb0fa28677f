import numpy as np
import tensorflow as tf

from configs.schema import Train
from trainer.optimizers import AdamW, Optimizer, RowwiseAdagrad, WarmupCosine, merge_duplicates

CONSTANT = WarmupCosine(0.1, warmup_steps=0, total_steps=1_000_000_000)


def test_duplicate_rows_are_added_up() -> None:
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([7, 3, 7]))
    merged = merge_duplicates(slices)
    assert dict(zip(merged.indices.numpy().tolist(), merged.values.numpy()[:, 0], strict=True)) == {
        7: 5.0,
        3: 2.0,
    }


def test_rowwise_adagrad_by_hand_and_only_touched_rows_move() -> None:
    table = tf.Variable(np.ones((4, 2), np.float32))
    adagrad = RowwiseAdagrad([table], CONSTANT, initial=0.0)
    gradient = np.array([[3.0, 4.0]], np.float32)
    accumulated = 0.0
    expected = np.ones(2)
    for step in range(3):
        adagrad.apply(
            [tf.IndexedSlices(tf.constant(gradient), tf.constant([2]))], tf.constant(step)
        )
        accumulated += (gradient**2).mean()
        expected -= 0.1 * gradient[0] / np.sqrt(accumulated)
    np.testing.assert_allclose(table.numpy()[2], expected, rtol=1e-6)
    np.testing.assert_array_equal(table.numpy()[[0, 1, 3]], np.ones((3, 2)))
    assert adagrad.accumulators[0].shape == [4]


def test_schedule_rises_then_falls_to_zero() -> None:
    schedule = WarmupCosine(2.0, warmup_steps=10, total_steps=110)
    rates = [float(schedule(tf.constant(step))) for step in (0, 4, 9, 60, 110)]
    np.testing.assert_allclose(rates, [0.2, 1.0, 2.0, 1.0, 0.0], atol=1e-6)


def test_one_clip_over_tables_and_dense_after_merging() -> None:
    table, dense = tf.Variable(np.zeros((3, 1), np.float32)), tf.Variable(np.zeros(1, np.float32))
    optimizer = Optimizer(Train(clip_norm=1.0), tables=[table], dense=[dense], total_steps=10)
    with tf.GradientTape() as tape:
        # Row 1 is used twice: its merged gradient is 6, the dense one 8, the norm of both 10.
        loss = 3 * tf.reduce_sum(tf.gather(table, [1, 1])) + 8 * tf.reduce_sum(dense)
    norm = optimizer.minimize(loss, tape)
    np.testing.assert_allclose(norm, 10.0)
    np.testing.assert_allclose(optimizer.rowwise.accumulators[0].numpy()[1], 0.36, rtol=1e-4)
    assert int(optimizer.step) == 1
    assert dense.numpy()[0] < 0


def test_adamw_is_that_of_keras() -> None:
    """Two weights with decay and a bias without, over gradients of many sizes."""
    draw = np.random.default_rng(3)
    shapes = {"kernel": [3, 4], "embedding": [5], "bias": [4]}

    def variables() -> list[tf.Variable]:
        return [tf.Variable(tf.ones(shape), name=name) for name, shape in shapes.items()]

    ours, theirs = variables(), variables()
    adamw = AdamW(ours, CONSTANT, weight_decay=0.3)
    keras = tf.keras.optimizers.AdamW(CONSTANT, weight_decay=0.3, jit_compile=False)
    keras.exclude_from_weight_decay(var_names=["bias"])
    keras.build(theirs)
    for step in range(5):
        gradients = [
            tf.constant(draw.normal(size=s) * 10.0 ** draw.integers(-6, 3, s), tf.float32)
            for s in shapes.values()
        ]
        adamw.apply(gradients, tf.constant(step, tf.int64))
        keras.apply_gradients(zip(gradients, theirs, strict=True))
    for one, other in zip(ours, theirs, strict=True):
        assert not np.allclose(one, 1.0)
        np.testing.assert_allclose(one, other, rtol=2e-5, err_msg=one.name)


def test_rows_of_small_and_large_tables_move_alike() -> None:
    """A small table's gradient holds all of its rows, a large one's those that were looked up."""
    moved = []
    for rows in (10, 10_000):
        table = tf.Variable(tf.ones([rows, 2]))
        optimizer = Optimizer(Train(), tables=[table], dense=[], total_steps=10)
        for index in ([3, 3, 7], [7, 1, 1]):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table, index) ** 2)
            optimizer.minimize(loss, tape)
        moved.append((table.numpy()[:10], optimizer.rowwise.accumulators[0].numpy()[:10]))
    np.testing.assert_allclose(moved[0][0], moved[1][0], rtol=1e-6)
    np.testing.assert_allclose(moved[0][1], moved[1][1], rtol=1e-6)
    np.testing.assert_array_equal(moved[0][0][[0, 2, 9]], 1.0)
    assert (moved[0][0][[1, 3, 7]] != 1.0).all()
