"""Bayesian personalised ranking."""

import tensorflow as tf

from trainer.losses.base import Loss, Scores


class BayesianPersonalizedRanking(Loss):
    """Mean over negatives of -log sigmoid(s+ - s-).

    Source: Rendle et al., BPR (UAI 2009), section 4.1, over all negatives of a row instead of one.
    """

    def __init__(self) -> None:
        """Has no parameters."""
        super().__init__(name="bpr")

    def __call__(self, scores: Scores) -> tf.Tensor:
        """See the base."""
        margin = scores.positive[:, tf.newaxis] - scores.negatives
        return tf.reduce_sum(scores.negative_shares() * tf.math.softplus(-margin), 1)
