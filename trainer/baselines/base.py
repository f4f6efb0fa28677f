"""What every baseline is, and what several of them need."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import scipy.sparse as sp

from preprocessing.columns import UNKNOWN_ITEM
from trainer.queries import Int64Array, Interactions, Queries
from trainer.retrieval import Float32Array, Scorer


class Baseline(Scorer, Protocol):
    """A scorer that is fitted once and folds in the history of each query when it scores."""

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """Learns, and returns itself.

        Args:
            train: the positives that the model learns from.
            before_split: all positives before the evaluated split, for what counts the last days;
                those of `train` where there is no gap between the two.
        """
        ...


def binary_history(queries: Queries, rows: slice, num_items: int) -> sp.csr_array:
    """Which items some queries have in their history: 0/1 float32 [rows, num_items].

    The unknown item counts as none.
    """
    history = queries.history.slice(rows.start, rows.stop)
    return _binary(history.row_of_value, history.values, (len(history), num_items))


def user_items(interactions: Interactions) -> sp.csr_array:
    """Which users have a positive with which items: 0/1 float32 [num_users, num_items].

    The unknown item counts as none.
    """
    shape = (interactions.num_users, interactions.num_items)
    return _binary(interactions.user, interactions.item, shape)


def _binary(row: Int64Array, item: Int64Array, shape: tuple[int, int]) -> sp.csr_array:
    known = item != UNKNOWN_ITEM
    ones = np.ones(np.count_nonzero(known), dtype=np.float32)
    matrix = sp.csr_array((ones, (row[known], item[known])), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def popularity_backfill(item_counts: Int64Array) -> Float32Array:
    """Scores in [-1, 0) that order items by popularity, float32 [num_items].

    For the items that a baseline with positive scores has nothing to say about, all of them where
    the history is empty: they come after the others, the most popular first.
    """
    return (-1 / (1 + item_counts)).astype(np.float32)


def or_backfill(scores: Float32Array, backfill: Float32Array) -> Float32Array:
    """`scores` [b, num_items], in place, with `backfill` [num_items] where they are zero."""
    np.copyto(scores, backfill, where=scores == 0)
    return scores
