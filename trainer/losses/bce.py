"""Binary cross-entropy: is this the positive?"""

import tensorflow as tf

from trainer.losses.base import Loss, Scores


class BinaryCrossEntropy(Loss):
    """-log sigmoid(s+ + b) - mean over negatives of log(1 - sigmoid(s- + b)), b learnt.

    Unit vectors cannot say "no" by their dot product alone: without b a score of 0 is an even bet.

    Source: negative sampling, Mikolov et al. (2013), equation 4, its negatives averaged by weight
        instead of summed.

    Attributes:
        bias: float32 [], b.
    """

    def __init__(self) -> None:
        """Starts with b = 0."""
        super().__init__(name="bce")
        self.bias = tf.Variable(0.0, name="loss_bias")

    def __call__(self, scores: Scores) -> tf.Tensor:
        """See the base."""
        of_negatives = tf.math.softplus(scores.negatives + self.bias)
        return tf.math.softplus(-scores.positive - self.bias) + tf.reduce_sum(
            scores.negative_shares() * of_negatives, 1
        )
