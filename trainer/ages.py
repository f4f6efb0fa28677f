"""Lengths of time on a logarithmic scale."""

import tensorflow as tf

_SHORTEST_AGE_S = 60
AGE_BUCKETS = 22  # below a minute, then by doublings; the last begins at two years


def age_bucket(age: tf.Tensor) -> tf.Tensor:
    """Seconds int64 [...] to the number of their bucket, int64 [...], below `AGE_BUCKETS`."""
    bounds = [_SHORTEST_AGE_S << doubling for doubling in range(AGE_BUCKETS - 1)]
    flat = tf.reshape(age, [-1])
    found = tf.searchsorted(tf.constant(bounds, tf.int64), flat, side="right", out_type=tf.int64)
    return tf.reshape(found, tf.shape(age))
