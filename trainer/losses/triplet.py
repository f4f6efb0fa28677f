"""Triplet loss with a margin."""

import tensorflow as tf

from trainer.losses.base import Loss, Scores


class Triplet(Loss):
    """Mean over negatives of max(0, margin - cos+ + cos-), on cosines and not on logits.

    Source: Schroff et al., FaceNet (2015), equation 3, with cosines and all triplets of the batch.
    """

    def __init__(self, *, margin: float) -> None:
        """A negative farther from the user than the positive by `margin` costs nothing."""
        super().__init__(name="triplet")
        self._margin = margin

    def __call__(self, scores: Scores) -> tf.Tensor:
        """See the base."""
        ahead = (scores.positive[:, tf.newaxis] - scores.negatives) * scores.temperature
        return tf.reduce_sum(scores.negative_shares() * tf.nn.relu(self._margin - ahead), 1)
