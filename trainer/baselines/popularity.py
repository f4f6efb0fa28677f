"""The same list for everybody: what is popular, overall or of late."""

from __future__ import annotations

from typing import Self

import numpy as np

from preprocessing.features import SECONDS_PER_DAY, UNKNOWN_ITEM
from trainer.queries import Interactions, Queries
from trainer.retrieval import Float32Array


class Popularity:
    """Scores an item by its number of train positives."""

    def __init__(self) -> None:
        """Has no parameters."""
        self._item_scores = np.zeros(0, dtype=np.float32)

    def fit(self, interactions: Interactions) -> Self:
        """See `Baseline`."""
        self._item_scores = interactions.item_counts.astype(np.float32)
        return self

    def score(self, queries: Queries, start: int, stop: int) -> Float32Array:
        """See `Scorer`."""
        return np.tile(self._item_scores, (stop - start, 1))


class RecentPopularity:
    """Ranks items by their train positives in the last days before the split, then by all of them.

    The score is the rank of that pair of counts, worst first: a weighted sum of the two would lose
    the second to rounding.
    """

    def __init__(self, *, days: float = 7.0) -> None:
        """Counts events of the last `days`, above 0, before the split.

        Raises:
            ValueError: if days is not above 0.
        """
        if not days > 0:
            raise ValueError(f"days must be above 0, found {days}")
        self._days = days
        self._item_scores = np.zeros(0, dtype=np.float32)

    def fit(self, interactions: Interactions) -> Self:
        """See `Baseline`."""
        recent = interactions.time >= interactions.end_time - self._days * SECONDS_PER_DAY
        counts = np.bincount(interactions.item[recent], minlength=interactions.num_items)
        counts[UNKNOWN_ITEM] = 0
        pairs = np.stack([counts, interactions.item_counts], axis=1)
        rank = np.unique(pairs, axis=0, return_inverse=True)[1]
        self._item_scores = rank.astype(np.float32)
        return self

    def score(self, queries: Queries, start: int, stop: int) -> Float32Array:
        """See `Scorer`."""
        return np.tile(self._item_scores, (stop - start, 1))
