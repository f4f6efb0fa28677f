"""The linear item-to-item model with a closed form."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from preprocessing.features import UNKNOWN_ITEM
from trainer.baselines.base import binary_history, popularity_backfill, user_items
from trainer.queries import Int64Array, Interactions, Queries
from trainer.retrieval import Float32Array


class Ease:
    """EASE: item weights that best rebuild each user's items from the others.

    With X the users' items and P = (XᵀX + λI)⁻¹, the weights are B = I - P · diag(1 / diag(P)), and
    a history x scores x B. Items beyond `max_items` come after the others, by popularity; so does
    everything where no item of the history is within.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), section 3.1. He
        keeps all items; the cut to the most popular bounds time and memory.
    """

    def __init__(self, *, regularization: float = 300.0, max_items: int = 5_000) -> None:
        """Sets λ, above 0, and how many of the most popular items the model covers, at least 1.

        Raises:
            ValueError: if a parameter is out of range.
        """
        if not regularization > 0:
            raise ValueError(f"regularization must be above 0, found {regularization}")
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, found {max_items}")
        self._regularization = regularization
        self._max_items = max_items
        self._covered: Int64Array = np.zeros(0, dtype=np.int64)
        self._weights = np.zeros((0, 0), dtype=np.float32)
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, interactions: Interactions) -> Self:
        """See `Baseline`; time grows with max_items cubed."""
        counts = interactions.item_counts
        popular_first = np.argsort(-counts, kind="stable")
        known = popular_first[popular_first != UNKNOWN_ITEM]
        self._covered = np.sort(known[: self._max_items])
        items = user_items(interactions)[:, self._covered]
        gram = (items.T @ items).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self._regularization
        # In float64: the largest eigenvalue of gram is 1e6 times λ on a million positives.
        weights = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0)
        self._weights = weights.astype(np.float32)
        self._backfill = popularity_backfill(counts)
        return self

    def score(self, queries: Queries, start: int, stop: int) -> Float32Array:
        """See `Scorer`."""
        history = binary_history(queries, start, stop, len(self._backfill))[:, self._covered]
        known = history @ self._weights
        known[np.diff(history.indptr) == 0] = self._backfill[self._covered]
        # Weights may be negative, so what is not covered starts below the row's lowest score.
        scores = known.min(axis=1, initial=0, keepdims=True) + self._backfill
        scores[:, self._covered] = known
        return scores
