"""How often each item is the positive of a row that a batch draws: q of the losses' corrections."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.catalog import DailyCounts

Shares: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Items int64 [N] and the days of a batch's rows int64 [B] to shares float32 [N]."""


class OverallShares:
    """Shares of all rows: batches hold rows of any day."""

    def __init__(self, count: npt.NDArray[np.generic]) -> None:
        """Takes rows by positive item, [items + 1]; expected ones where positives are drawn."""
        self._share = tf.constant(count / np.sum(count), tf.float32)

    def __call__(self, item: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
        """As `Shares`."""
        del day
        return tf.gather(self._share, item)


class DailyShares:
    """Shares of the rows from a batch's first day to its last: batches hold rows near in time.

    An item is drawn for the batches of the days on which it is liked. By its share of all rows a
    new one would seem rare, weigh as much in each of the few batches that it is in as the old do in
    many, and so be pushed away from every user.
    """

    def __init__(
        self,
        item: npt.NDArray[np.int64],
        day: npt.NDArray[np.int64],
        rows: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Takes positives with their rows' days, int64 [n] each, in any order.

        Args:
            item: a positive.
            day: of rows with it.
            rows: float64 [n], how many such rows there are, expected ones too; None: one each.
        """
        self._of_item = _Counts(DailyCounts.key_of(item, day), rows)
        self._of_all = _Counts(day, rows)

    def __call__(self, item: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
        """As `Shares`; 0 for what no row of these days has as its positive."""
        first, last = tf.reduce_min(day), tf.reduce_max(day)
        of_item = self._of_item.between(
            DailyCounts.key_of(item, first), DailyCounts.key_of(item, last)
        )
        rows = self._of_all.between(first[tf.newaxis], last[tf.newaxis])
        return tf.cast(tf.math.divide_no_nan(of_item, rows), tf.float32)


class _Counts:
    """How many of some keys lie in an interval."""

    def __init__(
        self, keys: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None
    ) -> None:
        distinct, index = np.unique(keys, return_inverse=True)
        self._key = tf.constant(distinct)
        self._before = tf.constant(np.concatenate([[0.0], np.cumsum(np.bincount(index, weights))]))

    def between(self, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        """From `first` to `last`, both included: int64 [N] twice to float64 [N]."""
        start = tf.searchsorted(self._key, first)
        stop = tf.searchsorted(self._key, last, side="right")
        return tf.gather(self._before, stop) - tf.gather(self._before, start)
