"""Items of the batches before, as further negatives."""

import tensorflow as tf

from trainer.replicas import update_each


class ItemMemory(tf.Module):
    """The newest positives with the vectors that they had: first in, first out.

    Vectors change slowly once training is warmed up, so that old ones still serve as negatives at
    no cost but their dot products; nothing is learnt through them.

    Source: Wang et al., Cross-Batch Memory for Embedding Learning (CVPR 2020); with the sampling
        probabilities of the items, Wang et al., Cross-Batch Negative Sampling (SIGIR 2021).

    Attributes:
        vector: float32 [size, dim], unit vectors.
        item: int64 [size], catalog ids; 0 in slots not yet used.
        user: int64 [size], hash of whose positive it was.
        share: float32 [size], share of train rows, as it was at the time.
        pushed: int64 [], rows that ever went in.
    """

    def __init__(self, size: int, dim: int) -> None:
        """Holds `size` positives of vectors `dim` wide."""
        super().__init__(name="memory")
        self.size = size
        self.vector, self.item, self.user, self.share = (
            tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)
            for name, shape, dtype in (
                ("vector", [size, dim], tf.float32),
                ("item", [size], tf.int64),
                ("user", [size], tf.int64),
                ("share", [size], tf.float32),
            )
        )
        self.pushed = tf.Variable(0, dtype=tf.int64, trainable=False, name="pushed")

    @property
    def filled(self) -> tf.Tensor:
        """Slots in use, the first so many: int64 []."""
        return tf.minimum(self.pushed, self.size)

    def push(
        self, *, vector: tf.Tensor, item: tf.Tensor, user: tf.Tensor, share: tf.Tensor
    ) -> None:
        """Puts n positives in the place of the oldest; [n, dim] and [n]."""
        # More than fit would write one slot twice, in any order.
        count = tf.shape(item, tf.int64)[0]
        fits = tf.minimum(count, self.size)
        slot = (self.pushed + tf.range(count - fits, count)) % self.size
        for variable, value in (
            (self.vector, tf.stop_gradient(tf.cast(vector, tf.float32))),
            (self.item, item),
            (self.user, user),
            (self.share, share),
        ):
            update_each(variable, _put, value[-fits:], slot)
        update_each(self.pushed, lambda pushed, count: pushed.assign_add(count), count)


def _put(variable: tf.Variable, value: tf.Tensor, slot: tf.Tensor) -> None:
    variable.scatter_update(tf.IndexedSlices(value, slot))
