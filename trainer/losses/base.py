"""What every loss takes, and what it gives."""

import abc
from dataclasses import dataclass

import tensorflow as tf

MASKED = -1e30
"""A log weight that no softmax in float32 notices, far from its overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Logits of a batch, and what each candidate stands for.

    Attributes:
        positive: float32 [B], the logit of each row's positive.
        negatives: float32 [B, N], logits of every candidate; a logit is a dot product of unit
            vectors over the temperature.
        log_weight: float32 [B, N], log of how many items of the catalog a candidate stands for:
            its copies over how often it was expected. `MASKED` where it is no negative of the row:
            the positive itself, what else the user liked.
        positive_log_weight: float32 [B], added to the positive's logit by the softmax; zeros but
            under Yi et al.'s correction.
        temperature: float32 [].
    """

    positive: tf.Tensor
    negatives: tf.Tensor
    log_weight: tf.Tensor
    positive_log_weight: tf.Tensor
    temperature: tf.Tensor

    def negative_shares(self) -> tf.Tensor:
        """Weights as shares of their row, float32 [B, N]; zeros in a row without a negative.

        A mean over negatives with these shares estimates the mean over the catalog.
        """
        any_negative = tf.reduce_max(self.log_weight, 1, keepdims=True) > MASKED / 2
        return tf.nn.softmax(self.log_weight) * tf.cast(any_negative, tf.float32)


class Loss(tf.Module, abc.ABC):
    """One loss a row. What it learns beside the towers, if anything, are its variables."""

    @abc.abstractmethod
    def __call__(self, scores: Scores) -> tf.Tensor:
        """Loss of each row: float32 [B], zero or more, finite for finite logits."""
