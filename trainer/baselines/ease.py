"""The linear item-to-item model with a closed form."""

from __future__ import annotations

from typing import Self

import numpy as np

from configs.baselines import EaseParameters
from trainer.baselines.base import binary_history, popularity_backfill
from trainer.baselines.ease_weights import EaseWeights, ease_weights
from trainer.queries import Interactions, Queries
from trainer.retrieval import Float32Array

_COLUMNS_AT_ONCE = 2**14


class Ease:
    """EASE: item weights that best rebuild each user's items from the others.

    With X the users' items and P = (XᵀX + λI)⁻¹, the weights are B = I - P · diag(1 / diag(P)), and
    a history x scores x B. Where both items and users are more than `max_items`, items beyond the
    most popular so many come after the others, by popularity; so does everything where no item of
    the history is within.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), section 3.1. He
        keeps all items; the cut to the most popular bounds time and memory. With fewer users than
        items the same weights come from an inverse as wide as the users (Woodbury).
    """

    def __init__(self, parameters: EaseParameters) -> None:
        """Sets λ and how many of the most popular items the model covers at least."""
        self._parameters = parameters
        self._weights: EaseWeights | None = None
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`; time grows with max_items cubed."""
        del before_split
        self._weights = ease_weights(
            train,
            regularization=self._parameters.regularization,
            max_items=self._parameters.max_items,
        )
        self._backfill = popularity_backfill(train.item_counts)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        assert self._weights is not None, "fit comes first"
        covered = self._weights.covered
        history = binary_history(queries, rows, len(self._backfill))[:, covered]
        without = np.diff(history.indptr) == 0
        predictions = self._weights.predictions(history)

        first, last = np.searchsorted(covered, [items.start, items.stop])
        beyond = np.ones(len(self._backfill[items]), bool)
        beyond[covered[first:last] - items.start] = False
        scores = np.tile(self._backfill[items], (history.shape[0], 1))
        # Weights may be negative, so what is not covered starts below the row's lowest score.
        lowest = np.zeros((history.shape[0], 1), np.float32)
        for start in range(0, len(covered), _COLUMNS_AT_ONCE):
            block = predictions(slice(start, start + _COLUMNS_AT_ONCE))
            block[without] = self._backfill[covered[start : start + _COLUMNS_AT_ONCE]]
            np.minimum(lowest, block.min(axis=1, keepdims=True), out=lowest)
            own = slice(max(first, start), max(min(last, start + _COLUMNS_AT_ONCE), start))
            scores[:, covered[own] - items.start] = block[:, own.start - start : own.stop - start]
        scores[:, beyond] += lowest
        return scores
