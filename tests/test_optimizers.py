import numpy as np
import tensorflow as tf

from configs.schema import Train
from trainer.optimizers import Optimizer, RowwiseAdagrad, WarmupCosine, merge_duplicates

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
