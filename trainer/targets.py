"""What a row is trained to predict: its own label, or one of the user's next few."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import tensorflow as tf

from preprocessing.features import ITEM, USER_ID
from trainer.dataset import Dataset, load_interactions

_TIME_BITS = 33  # seconds since 1970 fit until the year 2242


class NextTargets:
    """Draws each row's target from the labels of its user that follow, its own the first of them.

    A window protocol asks what a user will want weeks ahead, which a model of the very next item
    misses. A label whose item was uploaded after the row's own label is not drawn: the row keeps
    its own, for a live request could not have been answered with it.

    Attributes:
        count: float64 [items + 1], rows that are expected to have each item as their target.
    """

    def __init__(self, dataset: Dataset, window: int) -> None:
        """Keeps the train labels in memory; a target is one of `window`, or of what is left."""
        labels = load_interactions(dataset, ["train"])
        files = [str(dataset.root / f.name) for f in dataset.manifest.part("users")]
        users = pads.dataset(files).to_table(columns=[USER_ID])[USER_ID].to_pylist()
        key = _key(labels.user, labels.time)
        assert (np.diff(key) >= 0).all(), "labels are in the order of time for each user"
        self._window = window
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
        upload_time = dataset.catalog.upload_time
        self._upload_time = tf.constant(upload_time)
        self.count = np.zeros(dataset.catalog.size)
        choices = np.minimum(window, end - np.arange(len(end)))
        for ahead in range(window):
            row = np.flatnonzero(choices > ahead)
            item = labels.item[row + ahead]
            item = np.where(upload_time[item] <= labels.time[row], item, labels.item[row])
            self.count += np.bincount(item, 1 / choices[row], minlength=len(self.count))

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


def _key(user: Any, time: Any) -> Any:
    """One number that is ordered by user, then by time; works on NumPy and TensorFlow alike."""
    return user * (1 << _TIME_BITS) + time
