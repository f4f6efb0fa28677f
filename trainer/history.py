"""What a user liked lately, as one vector: means of item vectors over several last-N windows."""

import tensorflow as tf

from configs.kinds import Sequence


class WindowMeans(tf.keras.layers.Layer):
    """Means over the last N items for several N, side by side.

    One mean over everything hides what the user wants now; the last item alone forgets the rest.
    """

    def __init__(self, feature: Sequence, *, dropout: float) -> None:
        """Windows from the feature; `dropout` hides that share of items in training."""
        super().__init__(name="history")
        self.windows = tuple(feature.windows)
        self.dropout = dropout

    def call(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Pools the newest items of each row.

        Args:
            vectors: float32 [N, L, dim], oldest first.
            mask: bool [N, L], false for padding, which may stand at either end.
            training: whether to hide items.

        Returns:
            float32 [N, windows * dim]; zeros where there is no item.
        """
        if training and self.dropout:
            mask &= tf.random.uniform(tf.shape(mask)) >= self.dropout
        real = tf.cast(mask, tf.int32)
        from_newest = tf.cumsum(real, axis=1, reverse=True)  # 1 for the newest
        inside = tf.stack([mask & (from_newest <= window) for window in self.windows], 1)
        weights = tf.cast(inside, vectors.dtype)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))
        means = weights @ vectors  # [N, windows, dim]
        return tf.reshape(means, [-1, len(self.windows) * vectors.shape[-1]])
