"""How well users could be served if only their tastes had to be found: bounds for any model.

All scorers here know the simulator's video vectors, its logging policy and how users respond, which
a model has to learn from the same log. They differ in what they know of a user's taste.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.short_video import ShortVideoLogs
from trainer.queries import Queries
from trainer.retrieval import Float32Array

_Array = npt.NDArray[np.float64]

_BACKGROUND = 4_000  # videos that stand for all in a fit
_ROUNDS, _STEPS = 8, 25


class KnownVideos(ABC):
    """The simulator's own video vectors, policy and responses."""

    def __init__(self, logs: ShortVideoLogs, *, sharpness: float) -> None:
        """Takes what the simulator knows about videos.

        Args:
            logs: simulated.
            sharpness: of the policy by taste, as far as a taste is known that exactly.
        """
        catalog, config = logs.platform.catalog, logs.platform.config
        self.sharpness = sharpness
        self.vectors = np.concatenate([np.zeros_like(catalog.vectors[:1]), catalog.vectors])
        until = logs.cuts.test_time + SECONDS_PER_DAY - catalog.upload_time
        age_days = np.maximum(0, until / SECONDS_PER_DAY)
        freshness = config.freshness_boost * np.exp(-age_days / config.freshness_days)
        popularity = np.exp(catalog.log_popularity + freshness)
        self.bias = np.append(
            0, config.taste_popularity_exponent * catalog.log_popularity + freshness
        )
        self.shared = np.append(0, config.popularity_probability * popularity / popularity.sum())
        self.by_taste = 1 - config.popularity_probability - config.exploration_probability
        self.slope = config.click_taste
        language = np.append(-1, catalog.language)
        self.gap = config.language_gap * (language != logs.platform.population.language[:, None])

    @abstractmethod
    def tastes_of(self, queries: Queries, rows: slice) -> _Array:
        """What is known of the tastes of some queries' users, [rows, dim], of length 1 each."""

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        users = queries.user_id[rows].astype(np.int64)
        expected = self.expected(self.tastes_of(queries, rows), users)
        return expected.astype(np.float32)[:, items]

    def expected(self, tastes: _Array, users: npt.NDArray[np.int64]) -> _Array:
        """How likely each video is shown and liked, but for a factor: [N, dim] to [N, items]."""
        taste = tastes @ self.vectors.T - self.gap[users]
        weight = np.exp(self.sharpness * (taste - 1) + self.bias)
        shown = self.shared + self.by_taste * weight / weight.sum(axis=1, keepdims=True)
        liked: _Array = shown * np.exp(self.slope / 2 * taste)
        return liked

    def dot_products(self, tastes: _Array, users: npt.NDArray[np.int64]) -> _Array:
        """The logarithm of the policy by taste, which two towers can give: as `expected`."""
        taste = tastes @ self.vectors.T - self.gap[users]
        scores: _Array = self.sharpness * taste + self.bias
        return scores


class HistoryCentroid(KnownVideos):
    """Of the user, the mean of the history only."""

    def tastes_of(self, queries: Queries, rows: slice) -> _Array:
        """See `KnownVideos`."""
        history = queries.history.slice(rows.start, rows.stop)
        centroid = np.zeros((len(history), self.vectors.shape[1]))
        np.add.at(centroid, history.row_of_value, self.vectors[history.values])
        return _unit(centroid)


class FittedTaste(KnownVideos):
    """Each user's taste by maximum likelihood, given all that the user was shown and liked of it.

    The likelihood is the simulator's: of the policy's three sources, which showed what is unknown
    and taken in expectation, and of the response.
    """

    def __init__(self, logs: ShortVideoLogs) -> None:
        """Fits every user of the log."""
        super().__init__(logs, sharpness=logs.platform.config.sharpness)
        log, config = logs.log, logs.platform.config
        before = log.time_s < logs.cuts.test_time
        self._user = log.user[before].astype(np.int64)
        self._item = log.video[before].astype(np.int64) + 1
        self._liked = log.positive[before].astype(float)
        self._explored = config.exploration_probability / (
            config.exploration_share * len(logs.platform.catalog.creator)
        )
        self._like_bias = np.log(self._liked.mean() / (1 - self._liked.mean()))
        rng = np.random.default_rng(0)
        up = 1 + np.flatnonzero(logs.platform.catalog.upload_time < logs.cuts.test_time)
        self._background = rng.choice(up, min(_BACKGROUND, len(up)), replace=False)
        self._videos_each = len(up) / len(self._background)
        self.tastes = self._fit(config.users)

    def tastes_of(self, queries: Queries, rows: slice) -> _Array:
        """See `KnownVideos`."""
        tastes: _Array = self.tastes[queries.user_id[rows].astype(np.int64)]
        return tastes

    def _fit(self, num_users: int) -> _Array:
        """Expectation of what taste showed, then steps uphill on the unit sphere, in turn."""
        shown = self.vectors[self._item].astype(float)
        gap = self.gap[self._user, self._item]

        def per_user(weight: _Array) -> _Array:
            total = np.zeros((num_users, shown.shape[1]))
            np.add.at(total, self._user, shown * weight[:, None])
            return total

        tastes = _unit(per_user(1 + self._liked))
        mean_taste = float(((tastes[self._user] * shown).sum(1) - gap).mean())
        for _ in range(_ROUNDS):
            taste = (tastes[self._user] * shown).sum(1) - gap
            weight = np.exp(self.sharpness * (taste - 1) + self.bias[self._item])
            total = self._videos_each * self._background_weights(tastes).sum(1)
            by_taste = self.by_taste * weight / total[self._user]
            by_taste /= by_taste + self.shared[self._item] + self._explored
            drawn = per_user(by_taste)
            draws = np.bincount(self._user, by_taste, minlength=num_users)[:, None]
            for _ in range(_STEPS):
                taste = (tastes[self._user] * shown).sum(1) - gap
                like = 1 / (1 + np.exp(-self._like_bias - self.slope * (taste - mean_taste)))
                weights = self._background_weights(tastes)
                weights /= weights.sum(1, keepdims=True)
                uphill = self.sharpness * (drawn - draws * (weights @ self._background_vectors))
                uphill += self.slope * per_user(self._liked - like)
                tastes = _unit(tastes + uphill / (2 * self.sharpness * draws + 20))
        return tastes

    @property
    def _background_vectors(self) -> _Array:
        return self.vectors[self._background].astype(float)

    def _background_weights(self, tastes: _Array) -> _Array:
        """The policy's weights by taste of videos that stand for all: [users, background]."""
        taste = tastes @ self._background_vectors.T - self.gap[:, self._background]
        weights: _Array = np.exp(self.sharpness * (taste - 1) + self.bias[self._background])
        return weights


class DotProduct:
    """The same tastes, scored as two towers can."""

    def __init__(self, known: KnownVideos) -> None:
        """Takes who knows the tastes."""
        self._known = known

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        users = queries.user_id[rows].astype(np.int64)
        scores = self._known.dot_products(self._known.tastes_of(queries, rows), users)
        return scores.astype(np.float32)[:, items]


def _unit(vectors: _Array) -> _Array:
    unit: _Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit
