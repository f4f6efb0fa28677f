"""What the exported graph knows of each item, in variables that rows can be added to."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.model import TwoTower

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemTable:
    """The items of a catalog as an export takes them.

    Attributes:
        video_id: n distinct ids; item i + 1 of the graph is the i-th of them.
        popularity: float [n], events by which items are called popular, at least 0.
        removed: ids that no list may hold, whatever the catalog says.
    """

    video_id: npt.NDArray[np.object_]
    popularity: npt.NDArray[np.int64]
    removed: Collection[str] = ()


class ItemStore(tf.Module):
    """Items by catalog id: 0 stands for none, 1..n for those of the index, n + 1… for fresh ones.

    First dimensions are open, so that a version with more items differs in its variables alone.

    Attributes:
        video_id: string [ids].
        listed: bool [ids], whether a list may hold the item: false for id 0 and removed items.
        log_popularity: float32 [ids], log of the item's smoothed share of recent positives.
        popular_id: int64 [P], the most popular items.
        popular_vectors: float32 [P, dim].
        fresh_vectors: float32 [fresh, dim], of the items that are not in the index.
        num_indexed: n.
    """

    def __init__(self, table: ItemTable, vectors: FloatArray, *, num_popular: int) -> None:
        """Takes the catalog and its items' unit vectors, float32 [n, dim]."""
        super().__init__(name="item_store")
        ids = [v.encode() if isinstance(v, str) else v for v in table.video_id]
        count, dim = vectors.shape
        assert len(ids) == count == len(table.popularity)
        self.num_indexed = count
        removed = {v.encode() for v in table.removed}
        listed = np.array([False, *(v not in removed for v in ids)])
        log_popularity = log_shares(table.popularity)
        order = np.argsort(-table.popularity, kind="stable")
        popular = order[listed[1:][order]][:num_popular]
        self.video_id = _open(np.array([b"", *ids], object), "video_id", [])
        self.listed = _open(listed, "listed", [])
        self.log_popularity = _open(
            np.concatenate([log_popularity[-1:], log_popularity[:-1]]), "log_popularity", []
        )
        self.popular_id = _open((popular + 1).astype(np.int64), "popular_id", [])
        self.popular_vectors = _open(vectors[popular], "popular_vectors", [dim])
        self.fresh_vectors = _open(np.zeros((0, dim), np.float32), "fresh_vectors", [dim])
        self.table = tf.lookup.experimental.MutableHashTable(
            tf.string, tf.int64, default_value=0, name="id_of_video"
        )
        self.table.insert(tf.constant(ids), tf.range(1, count + 1, dtype=tf.int64))

    def look_up(self, video_id: tf.Tensor) -> tf.Tensor:
        """Catalog ids: string [...] to int64 [...], 0 for strangers."""
        ids = self.table.lookup(video_id)
        ids.set_shape(video_id.shape)  # which the table's operation does not tell
        return ids


def log_shares(popularity: npt.NDArray[np.int64]) -> FloatArray:
    """log((count + 1) / (all + n)) of n counts, and of a count of 0 at the end: float32 [n + 1]."""
    counts = np.append(popularity, 0).astype(np.float64) + 1
    return np.log(counts / max(1.0, counts[:-1].sum())).astype(np.float32)


def open_items(model: TwoTower) -> dict[str, tf.Variable]:
    """Puts what a model's histories know of each item into variables that rows can be added to."""
    columns = {
        name: tf.Variable(value, trainable=False, name=name, shape=[None, *value.shape[1:]])
        for name, value in model.items.looked_up.items()
    }
    model.items.hold(columns)
    return columns


def _open(value: npt.NDArray[np.generic], name: str, rest: list[int]) -> tf.Variable:
    initial = tf.constant(value.tolist()) if value.dtype == object else tf.constant(value)
    return tf.Variable(initial, trainable=False, name=name, shape=[None, *rest])
