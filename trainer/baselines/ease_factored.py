"""EASE as two towers could hold it: user and item vectors of the model's own width."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from configs.baselines import EaseFactoredParameters
from trainer.baselines.base import user_items
from trainer.baselines.ease_weights import EaseWeights, ease_weights
from trainer.baselines.factors import FactorModel
from trainer.baselines.popularity import recent_counts
from trainer.queries import Int64Array, Interactions
from trainer.retrieval import Float32Array

_OVERSAMPLING = 16
_POWER_ITERATIONS = 6


class EaseFactored(FactorModel):
    """EASE's predictions in `dim - 1` dimensions, and one more for recent popularity.

    With X the users' items, B EASE's weights and V the first `dim - 1` principal directions of the
    predictions X B (eigenvectors of Bᵀ XᵀX B), a user with the history x is [x B V, w] and item i
    [V_i, sqrt(r_i / max r)], where r_i counts the positives of the last days before the split and
    w is `popularity_weight`. It is a strong two-tower model in closed form: what trained towers of
    that width must beat.
    """

    def __init__(self, parameters: EaseFactoredParameters) -> None:
        """Sets width, λ and the weight of recent popularity."""
        super().__init__()
        self._parameters = parameters
        self._covered: Int64Array = np.zeros(0, dtype=np.int64)
        self._user_weights = np.zeros((0, 0), dtype=np.float32)

    def item_vectors(self, train: Interactions, before_split: Interactions) -> Float32Array:
        """See `FactorModel`."""
        parameters = self._parameters
        weights = ease_weights(
            train, regularization=parameters.regularization, max_items=parameters.max_items
        )
        self._covered = weights.covered
        by_user = user_items(train)[:, self._covered]
        directions = _principal(by_user, weights, parameters.dim - 1)
        self._user_weights = weights.times(directions)
        recent = recent_counts(before_split, parameters.days)
        vectors = np.zeros((train.num_items, directions.shape[1] + 1), dtype=np.float32)
        vectors[self._covered, :-1] = directions
        vectors[:, -1] = np.sqrt(recent / max(recent.max(), 1))
        vectors[train.item_counts + recent == 0] = 0
        return vectors

    def fold_in(self, history: sp.csr_array) -> Float32Array:
        """See `FactorModel`."""
        weight = np.full((history.shape[0], 1), self._parameters.popularity_weight)
        personal = history[:, self._covered] @ self._user_weights
        return np.concatenate([personal, weight], axis=1).astype(np.float32)


def _principal(by_user: sp.csr_array, weights: EaseWeights, count: int) -> Float32Array:
    """The first right singular vectors of X B, X [users, n]: [n, min(count, n)].

    By subspace iteration: X B itself would be users times items.

    Source:
        Halko, Martinsson & Tropp, "Finding structure with randomness" (SIAM Review 2011),
        algorithm 4.4, with the Rayleigh-Ritz step of their algorithm 5.3.
    """
    n = by_user.shape[1]

    def apply(block: Float32Array) -> Float32Array:
        return weights.transposed_times(by_user.T @ (by_user @ weights.times(block)))

    draw = np.random.default_rng(0)
    block = draw.standard_normal((n, min(n, count + _OVERSAMPLING)), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        block = scipy.linalg.qr(apply(block), mode="economic")[0]
    values, rotation = np.linalg.eigh(block.T @ apply(block))
    return block @ rotation[:, np.argsort(-values)[:count]]
