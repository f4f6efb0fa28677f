"""The same list for everybody: what is popular, overall or of late."""

from __future__ import annotations

from typing import Self

import numpy as np

from configs.baselines import PopularityParameters, RecentPopularityParameters
from preprocessing.columns import SECONDS_PER_DAY, UNKNOWN_ITEM
from trainer.queries import Int64Array, Interactions, Queries
from trainer.retrieval import Float32Array


class Popularity:
    """Scores an item by its number of train positives."""

    def __init__(self, parameters: PopularityParameters) -> None:
        """Has no parameters."""
        del parameters
        self._item_scores = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`."""
        del before_split
        self._item_scores = train.item_counts.astype(np.float32)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        return _for_everybody(self._item_scores, rows, items)


class RecentPopularity:
    """Ranks items by their positives in the last days before the split, then by all of them.

    The score is the rank of that pair of counts, worst first: a weighted sum of the two would lose
    the second to rounding.
    """

    def __init__(self, parameters: RecentPopularityParameters) -> None:
        """Counts events of the last `parameters.days` before the split."""
        self._days = parameters.days
        self._item_scores = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`."""
        counted = before_split or train
        pairs = np.stack([recent_counts(counted, self._days), counted.item_counts], axis=1)
        rank = np.unique(pairs, axis=0, return_inverse=True)[1]
        self._item_scores = rank.astype(np.float32)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        return _for_everybody(self._item_scores, rows, items)


def recent_counts(interactions: Interactions, days: float) -> Int64Array:
    """Positives of each item in the last days before the split: int64 [num_items]."""
    recent = interactions.time >= interactions.end_time - days * SECONDS_PER_DAY
    counts = np.bincount(interactions.item[recent], minlength=interactions.num_items)
    counts[UNKNOWN_ITEM] = 0
    return counts.astype(np.int64)


def _for_everybody(item_scores: Float32Array, rows: slice, items: slice) -> Float32Array:
    return np.tile(item_scores[items], (rows.stop - rows.start, 1))
