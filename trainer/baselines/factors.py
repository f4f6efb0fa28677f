"""Baselines that score by the dot product of a user's vector and an item's."""

from __future__ import annotations

import abc
from typing import Self

import numpy as np
import scipy.sparse as sp

from trainer.baselines.base import binary_history, popularity_backfill
from trainer.queries import Interactions, Queries
from trainer.retrieval import Float32Array


class FactorModel(abc.ABC):
    """A matrix factorisation that makes a user's vector of the query's own history.

    Items without a train positive come after the others, by popularity; so does everything where
    no item of the history has a vector.
    """

    def __init__(self) -> None:
        """Nothing is learnt yet."""
        self._items = np.zeros((0, 0), dtype=np.float32)
        self._has_vector = np.zeros(0, dtype=np.bool_)
        self._backfill = np.zeros(0, dtype=np.float32)
        self._largest_norm = 0.0
        self._folded: tuple[Queries, slice, Float32Array] | None = None

    @abc.abstractmethod
    def item_vectors(self, train: Interactions, before_split: Interactions) -> Float32Array:
        """Learns: float32 [num_items, d]; zeros for an item that nothing is known of."""

    @abc.abstractmethod
    def fold_in(self, history: sp.csr_array) -> Float32Array:
        """Vectors of users with the given histories, 0/1 float32 [n, num_items]: [n, d]."""

    def fit(self, train: Interactions, *, before_split: Interactions | None = None) -> Self:
        """See `Baseline`."""
        self._items = self.item_vectors(train, before_split or train)
        self._has_vector = np.any(self._items != 0, axis=1)
        self._backfill = popularity_backfill(train.item_counts)
        norms = np.linalg.norm(self._items, axis=1)
        self._largest_norm = float(norms.max(initial=0.0))
        self._folded = None
        return self

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        users = self._users(queries, rows)
        known = np.any(users != 0, axis=1)
        scores = users @ self._items[items].T
        # No dot product is lower: what has no vector starts there.
        lowest = -np.linalg.norm(users, axis=1, keepdims=True) * self._largest_norm
        backfill = (lowest + self._backfill[items]).astype(np.float32)
        without = ~known[:, None] | ~self._has_vector[items]
        np.copyto(scores, backfill, where=without)
        return scores

    def _users(self, queries: Queries, rows: slice) -> Float32Array:
        """Vectors of some queries' users, zeros without a history; kept for the next items."""
        if self._folded is None or self._folded[0] is not queries or self._folded[1] != rows:
            history = binary_history(queries, rows, len(self._backfill))
            known = history @ self._has_vector.astype(np.float32) > 0
            users = self.fold_in(history) * known[:, None].astype(np.float32)
            self._folded = (queries, rows, users)
        return self._folded[2]
