"""What a row is trained to predict: its own label, or one of the user's next few; how often."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.schema import Config
from preprocessing.columns import ITEM, SECONDS_PER_DAY, USER_ID
from trainer.dataset import Dataset, load_interactions, load_row_days, load_user_ids
from trainer.queries import Interactions
from trainer.shares import DailyShares, OverallShares, Shares

_MAX_CELLS = 2**25  # of days and items, counted at once
_TIME_BITS = 33  # seconds since 1970 fit until the year 2242


class NextTargets:
    """Draws each row's target from the labels of its user that follow, its own the first of them.

    A window protocol asks what a user will want weeks ahead, which a model of the very next item
    misses. A label whose item was uploaded after the row's own label is not drawn: the row keeps
    its own, for a live request could not have been answered with it.
    """

    def __init__(self, dataset: Dataset, window: int) -> None:
        """Keeps the train labels in memory; a target is one of `window`, or of what is left."""
        labels = load_interactions(dataset, ["train"])
        users = load_user_ids(dataset).to_pylist()
        key = _key(labels.user, labels.time)
        assert (np.diff(key) >= 0).all(), "labels are in the order of time for each user"
        self._dataset, self._labels, self._window = dataset, labels, window
        self._user = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(users, tf.string), tf.range(len(users), dtype=tf.int64)
            ),
            -1,
        )
        self._key = tf.constant(key)
        self._item = tf.constant(labels.item)
        end = np.searchsorted(labels.user, labels.user, side="right")
        self._end = tf.constant(end)
        self._upload_time = tf.constant(dataset.catalog.upload_time)

    @functools.cached_property
    def count(self) -> npt.NDArray[np.float64]:
        """Rows that are expected to have each item as their target: float64 [items + 1]."""
        # Over all days, whichever a row is of: those of the labels are at hand.
        _, item, rows = self._expected(self._labels.time // SECONDS_PER_DAY)
        counted = np.bincount(item, rows, minlength=self._dataset.catalog.size)
        return counted.astype(np.float64)

    @functools.cached_property
    def by_day(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The same by the rows' day, where it is not 0: days, items, int64 [n] each, and rows."""
        return self._expected(load_row_days(self._dataset, self._labels))

    def _expected(
        self, day: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        return _expected(
            self._labels,
            day,
            self._end.numpy(),
            self._window,
            upload_time=self._dataset.catalog.upload_time,
            num_items=self._dataset.catalog.size,
        )

    def __call__(self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        """Draws targets: rows of a batch, and int64 [2], to int64 [B] catalog ids."""
        own, time = batch[ITEM], batch["label_time"]
        key = _key(self._user.lookup(batch[USER_ID]), time)
        # Several labels may share a second: the row's own is the one of its item.
        tied = tf.ragged.range(
            tf.searchsorted(self._key, key), tf.searchsorted(self._key, key, side="right")
        )
        row, index = tied.value_rowids(), tied.flat_values
        is_own = tf.gather(self._item, index) == tf.gather(own, row)
        count = tf.shape(own)[0]
        place = tf.math.unsorted_segment_max(tf.where(is_own, index, -1), row, count)
        found = place >= 0  # so is every row, unless its dataset was put together by hand
        place = tf.maximum(place, 0)
        choices = tf.minimum(tf.cast(tf.gather(self._end, place), tf.int32) - place, self._window)
        share = tf.random.stateless_uniform([count], seed)
        ahead = tf.cast(share * tf.cast(choices, tf.float32), tf.int32)
        target = tf.gather(self._item, place + tf.minimum(ahead, choices - 1))
        return tf.where(found & (tf.gather(self._upload_time, target) <= time), target, own)


def shares_of(config: Config, dataset: Dataset, targets: NextTargets | None = None) -> Shares:
    """How often items are the targets of a config's batches.

    Args:
        config: whose batches they are.
        dataset: of the rows.
        targets: what draws the rows' positives; None: they have their own labels.
    """
    if not config.train.batch_days:
        return OverallShares(dataset.catalog.train_count if targets is None else targets.count)
    if targets is not None:
        day, item, rows = targets.by_day
        return DailyShares(item, day, rows)
    labels = load_interactions(dataset, ["train"])
    return DailyShares(labels.item, load_row_days(dataset, labels))


def _expected(
    labels: Interactions,
    day: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    window: int,
    *,
    upload_time: npt.NDArray[np.int64],
    num_items: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Days, items and how many rows of the day are expected to have the item as their target."""
    choices = np.minimum(window, end - np.arange(len(end)))
    days, day_of_row = np.unique(day, return_inverse=True)
    days_at_once = max(_MAX_CELLS // num_items, 1)
    found = []
    for first in range(0, len(days), days_at_once):
        cells = np.zeros(min(days_at_once, len(days) - first) * num_items)
        rows = np.flatnonzero((day_of_row >= first) & (day_of_row < first + days_at_once))
        for ahead in range(window):
            row = rows[choices[rows] > ahead]
            item = labels.item[row + ahead]
            item = np.where(upload_time[item] <= labels.time[row], item, labels.item[row])
            cell = (day_of_row[row] - first) * num_items + item
            cells += np.bincount(cell, 1 / choices[row], minlength=len(cells))
        some = np.flatnonzero(cells)
        found.append((days[first + some // num_items], some % num_items, cells[some]))
    by_day, by_item, count = (np.concatenate(each) for each in zip(*found, strict=True))
    return by_day, by_item, count


def _key(user: Any, time: Any) -> Any:
    """One number that is ordered by user, then by time; works on NumPy and TensorFlow alike."""
    return user * (1 << _TIME_BITS) + time
