"""Matrix factorisation by pairwise ranking, of the library `implicit`."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.special import expit
from threadpoolctl import threadpool_limits

from configs.baselines import BprParameters
from trainer.baselines.base import user_items
from trainer.baselines.factors import FactorModel
from trainer.queries import Interactions
from trainer.retrieval import Float32Array

_FOLD_IN_STEPS = 30
_NEGATIVES_PER_POSITIVE = 4
_UNIFORM_PER_POSITIVE = 3  # draws that are uniform, for one that is not
_USERS_AT_ONCE = 128


class Bpr(FactorModel):
    """Bayesian personalised ranking: a user's positive above an item drawn at random.

    `implicit` draws that item from all positives, popular ones often, and so unlearns popularity:
    users are added who have every item, which teach nothing and make most draws uniform. Nor has
    `implicit` a vector for a history that it was not trained on. Ours maximises the same objective
    over the user's vector alone, by gradient ascent, the items' vectors and biases held fixed; each
    positive is compared with the same few random items whoever asks, so that an answer does not
    depend on what is asked beside it.

    Source:
        Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback" (UAI 2009),
        section 4.
    """

    def __init__(self, parameters: BprParameters) -> None:
        """Sets size and steps."""
        super().__init__()
        self._parameters = parameters
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._negatives = np.zeros((0, 0), dtype=np.int64)

    def item_vectors(self, train: Interactions, before_split: Interactions) -> Float32Array:
        """See `FactorModel`; the last column is the item's bias."""
        del before_split
        parameters = self._parameters
        with threadpool_limits(1, "blas"):
            model = BayesianPersonalizedRanking(
                factors=parameters.factors,
                learning_rate=parameters.learning_rate,
                regularization=parameters.regularization,
                iterations=parameters.iterations,
                num_threads=1,  # more would race, and no run would be like another
                random_state=parameters.seed,
            )
            model.fit(_with_all_items(user_items(train)), show_progress=False)
        self._vectors = np.array(model.item_factors)
        known = np.flatnonzero(train.item_counts)
        self._vectors[train.item_counts == 0] = 0
        shape = (train.num_items, _NEGATIVES_PER_POSITIVE)
        draw = np.random.default_rng(parameters.seed)
        self._negatives = known[draw.integers(0, max(len(known), 1), size=shape)]
        return self._vectors

    def fold_in(self, history: sp.csr_array) -> Float32Array:
        """See `FactorModel`."""
        blocks = [
            self._ascend(history[start : start + _USERS_AT_ONCE])
            for start in range(0, history.shape[0], _USERS_AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, self._vectors.shape[1]), np.float32), *blocks])

    def _ascend(self, history: sp.csr_array) -> Float32Array:
        """Nesterov's accelerated ascent, each user with the step that its own curvature allows."""
        regularization = self._parameters.regularization
        count = history.shape[0]
        length = np.diff(history.indptr)
        row = np.repeat(np.arange(count), length)
        positive = self._vectors[history.indices]
        # [positives, negatives, d]: a positive less one that was not chosen.
        apart = positive[:, None] - self._vectors[self._negatives[history.indices]]
        of_user = sp.csr_array(
            (np.ones(len(row), np.float32), np.arange(len(row)), history.indptr),
            shape=(count, len(row)),
        )
        pairs = np.maximum(length, 1)[:, None] * _NEGATIVES_PER_POSITIVE
        squared = np.einsum("pnd,pnd->p", apart, apart)[:, None]
        step = (1 / (of_user @ squared / (4 * pairs) + regularization)).astype(np.float32)
        users = np.zeros((count, self._vectors.shape[1]), dtype=np.float32)
        users[:, -1] = 1  # what the items' biases are multiplied with
        ahead = users
        for number in range(_FOLD_IN_STEPS):
            margin = np.einsum("pnd,pd->pn", apart, ahead[row])
            pull = np.einsum("pn,pnd->pd", expit(-margin), apart)
            gradient = of_user @ pull / pairs - regularization * ahead
            gradient[:, -1] = 0
            moved = (ahead + step * gradient).astype(np.float32)
            ahead = (moved + np.float32(number / (number + 3)) * (moved - users)).astype(np.float32)
            users = moved
        return users


def _with_all_items(by_user: sp.csr_array) -> sp.csr_matrix:
    """The users' items [users, n], and below them users who have all items that any user has.

    `implicit` draws a pair of a user and an item, and an item that the user is not to have, from
    all pairs alike; it leaves out a draw of an item that the user has, which for these is every
    one. So they only make items equally likely to be the one not chosen.
    """
    known = by_user.sum(axis=0) > 0
    times = -(-_UNIFORM_PER_POSITIVE * by_user.nnz // max(int(known.sum()), 1))
    everything = sp.csr_matrix(known[np.newaxis].astype(np.float32))
    return sp.vstack([sp.csr_matrix(by_user), *[everything] * times], format="csr")
