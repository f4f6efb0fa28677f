"""Cross-entropy of the positive against its negatives, sampled or all."""

import tensorflow as tf

from trainer.losses.base import Loss, Scores


class Softmax(Loss):
    """-log of the positive's share of the normaliser, positive and weighted negatives.

    Where the negatives are all items with weight 1 this is the full softmax. Where they are sampled
    and weighted by one over how often each was expected, the sum over negatives is an unbiased
    estimate of the full one's.

    Source: importance sampling of the normaliser, Bengio and Senecal (2003). Label smoothing:
        Szegedy et al., Rethinking the Inception Architecture (2016), section 7; the smoothed mass
        is spread over the row's negatives, by their weights.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        """Moves `label_smoothing` of the target's mass from the positive to the negatives."""
        super().__init__(name="softmax")
        self._smoothing = label_smoothing

    def __call__(self, scores: Scores) -> tf.Tensor:
        """See the base."""
        positive = scores.positive + scores.positive_log_weight
        weighted = scores.negatives + scores.log_weight
        losses = tf.math.softplus(_log_sum_exp(weighted) - positive)
        if self._smoothing:
            shares = scores.negative_shares()
            # In a row without a negative the mass stays where it is.
            gap = scores.positive * tf.reduce_sum(shares, 1)
            gap -= tf.reduce_sum(shares * scores.negatives, 1)
            losses += self._smoothing * gap
        return losses


@tf.custom_gradient
def _log_sum_exp(values: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Log of the sum of exponentials of each row: float32 [B, N] to float32 [B].

    `tf.reduce_logsumexp` by the softmax's kernel, which passes over the values once where it does
    four times, and with a gradient of one multiplication a value.
    """
    shares = tf.nn.softmax(values)
    # The greatest value's share, 1 / N or more, says what all of them come to.
    total = tf.reduce_max(values, 1) - tf.math.log(tf.reduce_max(shares, 1))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return shares * upstream[:, tf.newaxis]

    return total, gradient
