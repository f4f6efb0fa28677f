"""Training without a feature now and then, so that no other waits for it."""

import tensorflow as tf


def drop_rows(vectors: tf.Tensor, share: float, training: bool) -> tf.Tensor:
    """Zeroes the vectors of a share of rows; the others stay as they are.

    Rows are not scaled up for it, as units are in dropout: where a feature is there, serving gives
    it the length that it was trained with.

    Args:
        vectors: float32 [N, dim], an encoded feature.
        share: of rows that lose it, in [0, 1).
        training: nothing is lost otherwise.
    """
    if not (training and share):
        return vectors
    keep = tf.random.uniform([tf.shape(vectors)[0], 1]) >= share
    return vectors * tf.cast(keep, vectors.dtype)
