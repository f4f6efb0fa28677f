"""What users go on to after the items that came last."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp

from configs.baselines import LastItemsParameters
from preprocessing.columns import UNKNOWN_ITEM
from trainer.baselines.base import or_backfill, popularity_backfill
from trainer.queries import Int64Array, Interactions, Queries
from trainer.retrieval import Float32Array


class LastItems:
    """Scores an item by how often it follows the last items of the history.

    t_ij counts how often j is one of the next `window` positives of a user after i. An item j is
    scored by the sum over the last items i of the history of

        t_ij / (n_i ** source_exponent · n_j ** target_exponent) / p_i

    where n is an item's number of train positives and p_i its place from the end of the history,
    the newest at 1. Items that followed none of them come after the others, by popularity.

    Source:
        The sequential rules of Ludewig & Jannach, "Evaluation of session-based recommendation
        algorithms" (UMUAI 2018); ours take whole histories for sessions and several last items for
        one, weigh all gaps in the window alike, and damp by popularity.
    """

    def __init__(self, parameters: LastItemsParameters) -> None:
        """Sets windows and exponents."""
        self._parameters = parameters
        self._vote = sp.csc_array((0, 0), dtype=np.float32)
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`; where times tie, the order of the interactions decides."""
        del before_split
        parameters = self._parameters
        vote = _transitions(train, parameters.window)
        counts = np.maximum(train.item_counts, 1).astype(np.float64)
        vote.data *= np.repeat(counts**-parameters.source_exponent, np.diff(vote.indptr))
        vote.data *= (counts**-parameters.target_exponent)[vote.indices]
        self._vote = sp.csc_array(vote.astype(np.float32))
        self._backfill = popularity_backfill(train.item_counts)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        last = queries.history.slice(rows.start, rows.stop).last(self._parameters.last)
        place = np.repeat(last.offsets[1:], last.lengths) - np.arange(len(last.values))
        weights = sp.csr_array(
            ((1 / place).astype(np.float32), (last.row_of_value, last.values)),
            shape=(len(last), len(self._backfill)),
        )
        return or_backfill((weights @ self._vote[:, items]).toarray(), self._backfill[items])


def _transitions(interactions: Interactions, window: int) -> sp.csr_array:
    """How often an item is among the next `window` after another, float64 [num_items, num_items].

    The unknown item takes a place in the window, but is neither source nor target.
    """
    order = np.lexsort((interactions.time, interactions.user))
    user, item = interactions.user[order], interactions.item[order]
    size = interactions.num_items
    counts = sp.csr_array((size, size), dtype=np.float64)
    for gap in range(1, window + 1):
        counts = counts + _pairs_at(user, item, gap, size)
    return counts


def _pairs_at(user: Int64Array, item: Int64Array, gap: int, num_items: int) -> sp.csr_array:
    source, target = item[:-gap], item[gap:]
    pair = (user[:-gap] == user[gap:]) & (source != UNKNOWN_ITEM) & (target != UNKNOWN_ITEM)
    ones = np.ones(np.count_nonzero(pair))
    return sp.csr_array((ones, (source[pair], target[pair])), shape=(num_items, num_items))
