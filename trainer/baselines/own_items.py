"""What the user had before, the most frequent first."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp

from configs.baselines import OwnItemsParameters
from preprocessing.columns import SECONDS_PER_DAY, UNKNOWN_ITEM
from trainer.baselines.base import or_backfill, popularity_backfill
from trainer.queries import Interactions, Queries
from trainer.retrieval import Float32Array


class OwnItems:
    """Scores an item by how often it is in the user's history, the more the later.

    The score is the sum of 2 ** -(age / half-life) over its occurrences, ages counted back from the
    history's newest positive; other items come after, by popularity. Where users return to the
    same items no baseline is harder to beat.

    Source:
        GP-TopFreq of Li et al., "A Next Basket Recommendation Reality Check" (TOIS 2023); the decay
        is that of repeated purchases in Hu et al., "Modeling Personalized Item Frequency
        Information for Next-basket Recommendation" (SIGIR 2020), by time and not by basket.
    """

    def __init__(self, parameters: OwnItemsParameters) -> None:
        """Sets the half-life."""
        self._half_life = parameters.half_life_days * SECONDS_PER_DAY
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`; only the others' order is learnt."""
        del before_split
        self._backfill = popularity_backfill(train.item_counts)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        history = queries.history.slice(rows.start, rows.stop)
        times = queries.history_time.slice(rows.start, rows.stop)
        newest = np.zeros(len(times), dtype=np.int64)
        np.maximum.at(newest, times.row_of_value, times.values)
        age = (newest[times.row_of_value] - times.values) / self._half_life
        # What is so old that it would vanish is still the user's own.
        weight = np.maximum(np.exp2(-age), np.finfo(np.float32).tiny)
        weight[history.values == UNKNOWN_ITEM] = 0
        counts = sp.csr_array(
            (weight.astype(np.float32), (history.row_of_value, history.values)),
            shape=(len(history), len(self._backfill)),
        )
        return or_backfill(counts[:, items].toarray(), self._backfill[items])
