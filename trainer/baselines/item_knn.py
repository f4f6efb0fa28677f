"""Item neighbours by the users that two items share."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp

from configs.baselines import ItemKnnParameters
from trainer.baselines.base import binary_history, or_backfill, popularity_backfill, user_items
from trainer.queries import Interactions, Queries
from trainer.retrieval import PADDING, Float32Array, select_top_k

_SIMILARITY_BLOCK_BYTES = 64 * 2**20


class ItemKnn:
    """Scores an item by its similarity to the items of the history.

    The similarity of items with n_i and n_j users, c_ij of them shared, is
    c_ij / (sqrt(n_i n_j) + shrinkage); of each item only the largest are kept. An item's score is
    the sum over the history. Items without a similar one in the history come after the others, by
    popularity.

    Source:
        Deshpande & Karypis, "Item-based top-N recommendation algorithms" (TOIS 2004), with
        cosine similarity; shrinkage, which they leave out, damps what few users support.
    """

    def __init__(self, parameters: ItemKnnParameters) -> None:
        """Sets how many neighbours of each item are kept, and the shrinkage."""
        self._neighbours = parameters.neighbours
        self._shrinkage = parameters.shrinkage
        self._similarity = sp.csc_array((0, 0), dtype=np.float32)
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`; memory grows with items times neighbours, time with items squared."""
        del before_split
        by_user = user_items(train)
        by_item = sp.csr_array(by_user.T)
        norm = np.sqrt(by_user.sum(axis=0))
        num_items = train.num_items
        block_rows = max(1, _SIMILARITY_BLOCK_BYTES // (4 * num_items))
        blocks = []
        for start in range(0, num_items, block_rows):
            stop = min(start + block_rows, num_items)
            shared = (by_item[start:stop] @ by_user).toarray()
            shared[np.arange(stop - start), np.arange(start, stop)] = 0
            # Items without users share none with any: their 0 / 0 is 0.
            scale = norm[start:stop, None] * norm + self._shrinkage
            np.divide(shared, scale, out=shared, where=scale > 0)
            blocks.append(_largest(shared, self._neighbours))
        self._similarity = sp.csc_array(sp.vstack(blocks, format="csr"))
        self._backfill = popularity_backfill(train.item_counts)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        history = binary_history(queries, rows, len(self._backfill))
        scores = (history @ self._similarity[:, items]).toarray()
        return or_backfill(scores, self._backfill[items])


def _largest(similarity: Float32Array, neighbours: int) -> sp.csr_array:
    """Each row [b, num_items] cut to its largest positive values."""
    item, value = select_top_k(similarity, neighbours)
    row, column = np.nonzero((item != PADDING) & (value > 0))
    entries = (value[row, column], (row, item[row, column]))
    return sp.csr_array(entries, shape=similarity.shape)
