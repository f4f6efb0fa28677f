"""EASE's item weights, by the smaller of two inverses."""

from __future__ import annotations

import abc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse as sp

from trainer.baselines.base import user_items
from trainer.queries import Int64Array, Interactions
from trainer.retrieval import Float32Array

Float64Array = npt.NDArray[np.float64]


class EaseWeights(abc.ABC):
    """B = I - P · diag(1 / diag(P)) with P = (XᵀX + λI)⁻¹, X the users' items, of n items.

    Attributes:
        covered: ids of the n items, ascending.
    """

    covered: Int64Array

    @abc.abstractmethod
    def predictions(self, history: sp.csr_array) -> Callable[[slice], Float32Array]:
        """X B of some histories x, 0/1 float32 [b, n]: from some of the items to [b, items]."""

    @abc.abstractmethod
    def times(self, block: Float32Array) -> Float32Array:
        """B · block: [n, k] to [n, k]."""

    @abc.abstractmethod
    def transposed_times(self, block: Float32Array) -> Float32Array:
        """Bᵀ · block: [n, k] to [n, k]."""


def ease_weights(train: Interactions, *, regularization: float, max_items: int) -> EaseWeights:
    """The weights of all items that any user has, if they are `max_items` or the users are.

    With more of both, those of the `max_items` most popular.
    """
    by_user = user_items(train)
    users = np.flatnonzero(np.diff(by_user.indptr))
    known = np.flatnonzero(train.item_counts)
    if len(users) <= max_items < len(known):
        return _ByUsers(by_user[users][:, known], known, regularization)
    covered = most_popular(train, max_items)
    return _ByItems(by_user[:, covered], covered, regularization)


def most_popular(interactions: Interactions, max_items: int) -> Int64Array:
    """Ids of the `max_items` items with the most positives, ascending, ties by the smaller id.

    Items without any, the unknown one among them, are left out.
    """
    counts = interactions.item_counts
    popular_first = np.argsort(-counts, kind="stable")
    return np.sort(popular_first[: min(max_items, np.count_nonzero(counts))])


class _ByItems(EaseWeights):
    """B itself, [n, n]."""

    def __init__(self, by_user: sp.csr_array, covered: Int64Array, regularization: float) -> None:
        self.covered = covered
        # In float64: the largest eigenvalue of the Gram matrix is 1e6 times λ on a million
        # positives.
        gram: Float64Array = (by_user.T @ by_user).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += regularization
        weights = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0)
        self._weights = weights.astype(np.float32)

    def predictions(self, history: sp.csr_array) -> Callable[[slice], Float32Array]:
        return lambda items: history @ self._weights[:, items]

    def times(self, block: Float32Array) -> Float32Array:
        return self._weights @ block

    def transposed_times(self, block: Float32Array) -> Float32Array:
        return self._weights.T @ block


class _ByUsers(EaseWeights):
    """B by way of the users: λP = I - Xᵀ(XXᵀ + λI)⁻¹X (Woodbury), of which no [n, n] is made."""

    def __init__(self, by_user: sp.csr_array, covered: Int64Array, regularization: float) -> None:
        self.covered = covered
        self._by_user, self._by_item = by_user, sp.csr_array(by_user.T)
        gram: Float64Array = (by_user @ by_user.T).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += regularization
        inverse = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        users_of = np.split(self._by_item.indices, self._by_item.indptr[1:-1])
        explained = np.array([inverse[np.ix_(users, users)].sum() for users in users_of])
        self._scale = (1 / (1 - explained)).astype(np.float32)  # one over the diagonal of λP
        self._inverse = inverse.astype(np.float32)

    def predictions(self, history: sp.csr_array) -> Callable[[slice], Float32Array]:
        by_user = (history @ self._by_item).toarray() @ self._inverse

        def of(items: slice) -> Float32Array:
            own = history[:, items].toarray()
            found: Float32Array = by_user @ self._by_user[:, items]
            return own - (own - found) * self._scale[items]

        return of

    def times(self, block: Float32Array) -> Float32Array:
        return block - self._unexplained(block * self._scale[:, None])

    def transposed_times(self, block: Float32Array) -> Float32Array:
        return block - self._unexplained(block) * self._scale[:, None]

    def _unexplained(self, block: Float32Array) -> Float32Array:
        """λP · block."""
        return block - self._by_item @ (self._inverse @ (self._by_user @ block))
