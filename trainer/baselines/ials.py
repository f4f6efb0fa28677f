"""Matrix factorisation by alternating least squares, of the library `implicit`."""

from __future__ import annotations

import os

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from configs.baselines import IalsParameters
from trainer.baselines.base import user_items
from trainer.baselines.factors import FactorModel
from trainer.queries import Interactions
from trainer.retrieval import Float32Array


class Ials(FactorModel):
    """Implicit ALS: least squares on all pairs of user and item, positives weighing 1 + alpha.

    A query's user vector is the exact least-squares solution for its history with the items'
    vectors held fixed, so that a history that has moved on is answered for.

    Source:
        Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008),
        equations 3 to 5. `implicit` gives a positive the weight alpha and not 1 + alpha.
    """

    def __init__(self, parameters: IalsParameters) -> None:
        """Sets size and weights."""
        super().__init__()
        self._parameters = parameters
        self._model: AlternatingLeastSquares | None = None

    def item_vectors(self, train: Interactions, before_split: Interactions) -> Float32Array:
        """See `FactorModel`."""
        del before_split
        parameters = self._parameters
        # Each of implicit's threads calls BLAS: with threads of its own they would wait for
        # one another.
        with threadpool_limits(1, "blas"):
            self._model = AlternatingLeastSquares(
                factors=parameters.factors,
                regularization=parameters.regularization,
                alpha=parameters.alpha,
                iterations=parameters.iterations,
                num_threads=len(os.sched_getaffinity(0)),
                random_state=parameters.seed,
            )
            self._model.fit(sp.csr_matrix(user_items(train)), show_progress=False)
        vectors = np.array(self._model.item_factors)
        vectors[train.item_counts == 0] = 0
        return vectors

    def fold_in(self, history: sp.csr_array) -> Float32Array:
        """See `FactorModel`."""
        assert self._model is not None, "fit comes first"
        with threadpool_limits(1, "blas"):
            rows = np.arange(history.shape[0])
            return self._model.recalculate_user(rows, sp.csr_matrix(history))
