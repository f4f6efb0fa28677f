"""A loss over more rows and candidates than fit in memory at once."""

from collections.abc import Callable

import tensorflow as tf

CELLS = 1 << 22
"""Logits that are worked on together: 16 MB, so that they stay near the processor."""

LossOfRows = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Users [n, dim], candidates [N, dim], temperature [], first and last + 1 of the rows, to losses
[n]."""


def sum_in_chunks(
    losses: LossOfRows,
    users: tf.Tensor,
    candidates: tf.Tensor,
    temperature: tf.Tensor,
    weight: tf.Tensor,
) -> tf.Tensor:
    """The weighted sum of a loss over rows, some at a time, with memory for those alone.

    Since the sum over rows is all that is asked for, each chunk's gradients are worked out with its
    losses and added up: nothing is kept for a backward pass, and nothing is done twice. So losses
    are to be functions of the three tensors alone, and gradients of gradients are not to be had.

    Args:
        losses: of the rows of a chunk.
        users: float32 [B, dim].
        candidates: float32 [N, dim].
        temperature: float32 [].
        weight: float32 [B].

    Returns:
        float32 [].
    """

    @tf.custom_gradient
    def total(
        users: tf.Tensor, candidates: tf.Tensor, temperature: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        rows = tf.shape(users)[0]
        chunk = tf.maximum(CELLS // tf.maximum(tf.shape(candidates)[0], 1), 1)

        def step(
            number: tf.Tensor,
            sums: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
            of_users: tf.TensorArray,
        ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.TensorArray]:
            first = number * chunk
            last = tf.minimum(first + chunk, rows)
            some = users[first:last]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([some, candidates, temperature])
                found = losses(some, candidates, temperature, first, last)
                loss = tf.reduce_sum(found * weight[first:last])
            user, *others = tape.gradient(
                loss,
                [some, candidates, temperature],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            added = tuple(
                old + tf.cast(new, tf.float32)
                for old, new in zip(sums, (loss, *others), strict=True)
            )
            return number + 1, added, of_users.write(number, user)

        chunks = -(-rows // chunk)
        _, sums, of_users = tf.while_loop(
            lambda number, *_: number < chunks,
            step,
            (
                tf.constant(0),
                (tf.constant(0.0), tf.zeros(tf.shape(candidates)), tf.constant(0.0)),
                tf.TensorArray(
                    users.dtype, chunks, infer_shape=False, element_shape=[None, users.shape[1]]
                ),
            ),
            parallel_iterations=1,
        )
        loss, *of_all = sums
        gradients = [of_users.concat(), *of_all]

        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            scaled = (upstream * tf.cast(each, tf.float32) for each in gradients)
            inputs = (users, candidates, temperature)
            return tuple(tf.cast(s, i.dtype) for s, i in zip(scaled, inputs, strict=True))

        return loss, backward

    return total(users, candidates, temperature)
