import numpy as np
import pytest
import tensorflow as tf

from configs.kinds import Sequence
from trainer.gather import Rows, gather_rows
from trainer.history import WindowMeans

ROWS, DIM, LINES, LENGTH = 7, 3, 5, 6


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(5)


def test_gathered_rows_have_the_values_and_the_gradient_of_tf_gather(
    draw: np.random.Generator,
) -> None:
    table = tf.constant(draw.normal(size=(ROWS, DIM)), tf.float32)
    index = tf.constant(draw.integers(0, ROWS - 1, (LINES, LENGTH)))  # the last row is not read
    weight = tf.constant(draw.normal(size=(LINES, LENGTH, DIM)), tf.float32)
    found = []
    for gather in (gather_rows, tf.gather):
        with tf.GradientTape() as tape:
            tape.watch(table)
            values = gather(table, index)
            total = tf.reduce_sum(values * weight)
        found.append((values, tf.convert_to_tensor(tape.gradient(total, table))))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
    np.testing.assert_array_equal(found[0][1][-1], 0.0)


def test_means_by_a_loop_and_their_gradient_by_hand(draw: np.random.Generator) -> None:
    table = draw.normal(size=(ROWS, DIM)).astype(np.float32)
    index = draw.integers(0, ROWS - 1, (LINES, LENGTH))
    inside = draw.random((LINES, 2, LENGTH)) < 0.5
    inside[0], inside[1, 1] = False, True
    weight = draw.normal(size=(LINES, 2, DIM)).astype(np.float32)
    expected, gradient = np.zeros((LINES, 2, DIM)), np.zeros((ROWS, DIM))
    for line, which in np.ndindex(LINES, 2):
        for place in np.flatnonzero(inside[line, which]):
            share = 1 / inside[line, which].sum()
            expected[line, which] += share * table[index[line, place]]
            gradient[index[line, place]] += share * weight[line, which]
    variable = tf.constant(table)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        means = Rows(table=variable, index=tf.constant(index)).means(tf.constant(inside))
        total = tf.reduce_sum(means * weight)
    np.testing.assert_allclose(means, expected, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(total, variable), gradient, atol=1e-6)


@pytest.mark.parametrize("half_lives", [(), (1.0,)])
def test_a_history_of_named_rows_is_that_of_their_vectors(
    draw: np.random.Generator, half_lives: tuple[float, ...]
) -> None:
    feature = Sequence(
        max_length=LENGTH, windows=(6, 2), session_length=2, age_dim=4, half_lives_days=half_lives
    )
    history = WindowMeans("history", feature, dropout=0.0, seed=1)
    table = tf.constant(draw.normal(size=(ROWS, DIM)), tf.float32)
    index = tf.constant(draw.integers(0, ROWS, (LINES, LENGTH)))
    mask = tf.constant(np.arange(LENGTH) >= draw.integers(0, LENGTH + 1, (LINES, 1)))
    age = tf.constant(np.sort(draw.integers(0, 200_000, (LINES, LENGTH)))[:, ::-1].copy())
    assert history.ages is not None
    found = []
    for vectors in (Rows(table=table, index=index), tf.gather(table, index)):
        with tf.GradientTape() as tape:
            tape.watch(table)
            rows = Rows(table=table, index=index) if isinstance(vectors, Rows) else None
            encoded = history(rows or tf.gather(table, index), mask, age)
            total = tf.reduce_sum(encoded**2)
        gradients = tape.gradient(total, [table, history.ages.table])
        found.append([encoded, *map(tf.convert_to_tensor, gradients)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
