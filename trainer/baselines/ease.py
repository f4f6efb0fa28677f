"""The linear item-to-item model with a closed form."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.linalg

from configs.baselines import EaseParameters
from preprocessing.columns import UNKNOWN_ITEM
from trainer.baselines.base import binary_history, popularity_backfill, user_items
from trainer.queries import Int64Array, Interactions, Queries
from trainer.retrieval import Float32Array

Float64Array = npt.NDArray[np.float64]


class Ease:
    """EASE: item weights that best rebuild each user's items from the others.

    With X the users' items and P = (XᵀX + λI)⁻¹, the weights are B = I - P · diag(1 / diag(P)), and
    a history x scores x B. Items beyond `max_items` come after the others, by popularity; so does
    everything where no item of the history is within.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), section 3.1. He
        keeps all items; the cut to the most popular bounds time and memory.
    """

    def __init__(self, parameters: EaseParameters) -> None:
        """Sets λ and how many of the most popular items the model covers."""
        self._parameters = parameters
        self._covered: Int64Array = np.zeros(0, dtype=np.int64)
        self._weights = np.zeros((0, 0), dtype=np.float32)
        self._backfill = np.zeros(0, dtype=np.float32)

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`; time grows with max_items cubed."""
        del before_split
        self._covered = most_popular(train, self._parameters.max_items)
        gram = co_occurrence(train, self._covered)
        weights = ease_weights(gram, self._parameters.regularization)
        self._weights = weights.astype(np.float32)
        self._backfill = popularity_backfill(train.item_counts)
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        history = binary_history(queries, rows, len(self._backfill))[:, self._covered]
        known = history @ self._weights
        known[np.diff(history.indptr) == 0] = self._backfill[self._covered]
        # Weights may be negative, so what is not covered starts below the row's lowest score.
        scores = known.min(axis=1, initial=0, keepdims=True) + self._backfill[items]
        first, last = np.searchsorted(self._covered, [items.start, items.stop])
        scores[:, self._covered[first:last] - items.start] = known[:, first:last]
        return scores


def most_popular(interactions: Interactions, max_items: int) -> Int64Array:
    """Ids of the `max_items` items with the most positives, ascending, ties by the smaller id."""
    popular_first = np.argsort(-interactions.item_counts, kind="stable")
    known = popular_first[popular_first != UNKNOWN_ITEM]
    return np.sort(known[:max_items])


def co_occurrence(interactions: Interactions, items: Int64Array) -> Float64Array:
    """XᵀX: how many users have both of two items, float64 [n, n] for n ids."""
    by_user = user_items(interactions)[:, items]
    return (by_user.T @ by_user).toarray().astype(np.float64)


def ease_weights(gram: Float64Array, regularization: float) -> Float64Array:
    """EASE's B of XᵀX [n, n]: float64 [n, n], with zeros on the diagonal."""
    regularized = gram + regularization * np.eye(len(gram))
    # In float64: the largest eigenvalue of the Gram matrix is 1e6 times λ on a million positives.
    weights = scipy.linalg.inv(regularized, overwrite_a=True, assume_a="pos")
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return weights
