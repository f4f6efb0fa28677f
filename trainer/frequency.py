"""How often items come up, estimated while training: for data without counts, or that shifts."""

import numpy as np
import tensorflow as tf

from trainer.replicas import update_each

_PRIME = (1 << 61) - 1


class StreamingFrequency(tf.Module):
    """Estimates each item's share of the rows from the rows that lie between its appearances.

    Several arrays of buckets, each with a hash of its own, keep the row at which a bucket was last
    hit and the mean gap between its hits. Items that share a bucket make gaps short, so the
    longest of an item's gaps is the best; its share is one over it.

    Source: Yi et al., Sampling-Bias-Corrected Neural Modeling (RecSys 2019), Algorithm 2, and 3 for
        several hashes. Two departures: time is counted in rows, not in batches (an item in every
        batch would read 1 whatever its share); and a bucket's first hits are averaged, with a rate
        of 1 / hits until it falls to `rate`, so that rare items need no guess to start from.

    Attributes:
        last: int64 [arrays, buckets], row of the newest hit.
        gap: float32 [arrays, buckets], mean rows between hits.
        hits: float32 [arrays, buckets].
        row: int64 [], rows seen.
    """

    def __init__(self, *, arrays: int, buckets: int, rate: float, seed: int) -> None:
        """`rate` weighs a new gap: 0.01 remembers about the last hundred."""
        super().__init__(name="frequency")
        self._rate = rate
        self._buckets = buckets
        draw = np.random.default_rng(seed)
        # x -> ((a x + b) mod p) mod buckets, Carter and Wegman's universal family, in int64: ids
        # below 2^31 times a below 2^31 do not overflow.
        self._a = draw.integers(1, 1 << 31, arrays)
        self._b = draw.integers(0, 1 << 31, arrays)
        shape = [arrays, buckets]
        self.last, self.gap, self.hits = (
            tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)
            for name, dtype in (("last", tf.int64), ("gap", tf.float32), ("hits", tf.float32))
        )
        self.row = tf.Variable(0, dtype=tf.int64, trainable=False, name="row")

    def update(self, item: tf.Tensor) -> None:
        """Takes the items of the next rows, int64 [n], in order."""
        count = tf.shape(item, tf.int64)[0]
        position = self.row + tf.range(1, count + 1)
        for array, bucket in enumerate(tf.unstack(self._bucket_of(item))):
            hit, index, times = tf.unique_with_counts(bucket)
            where = tf.stack([tf.fill(tf.shape(hit), array), tf.cast(hit, tf.int32)], 1)
            newest = tf.math.unsorted_segment_max(position, index, tf.shape(hit)[0])
            # The gaps of one call, c of them, are taken as c of their mean.
            times = tf.cast(times, tf.float32)
            mean = tf.cast(newest - tf.gather_nd(self.last, where), tf.float32) / times
            hits = tf.gather_nd(self.hits, where) + times
            keep = tf.minimum((1 - self._rate) ** times, 1 - times / hits)
            gap = keep * tf.gather_nd(self.gap, where) + (1 - keep) * mean
            for variable, value in ((self.last, newest), (self.gap, gap), (self.hits, hits)):
                update_each(variable, _put, where, value)
        update_each(self.row, lambda row, count: row.assign_add(count), count)

    def share(self, item: tf.Tensor) -> tf.Tensor:
        """Estimated share of rows: int64 [n] to float32 [n]; 0 for what never came up."""
        bucket = self._bucket_of(item)
        gap = tf.gather(self.gap, bucket, batch_dims=1)
        seen = tf.reduce_all(tf.gather(self.hits, bucket, batch_dims=1) > 0, 0)
        return tf.where(seen, 1 / tf.maximum(tf.reduce_max(gap, 0), 1.0), 0.0)

    def _bucket_of(self, item: tf.Tensor) -> tf.Tensor:
        """Int64 [n] below 2^31 to int64 [arrays, n]."""
        a, b = (tf.constant(each, tf.int64)[:, tf.newaxis] for each in (self._a, self._b))
        return (a * item + b) % _PRIME % self._buckets


def _put(variable: tf.Variable, where: tf.Tensor, value: tf.Tensor) -> None:
    variable.scatter_nd_update(where, value)
