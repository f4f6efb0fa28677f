"""The logging policy: what is shown to whom on a day, with its exact propensity.

Each slot draws a video from a mixture of three distributions over the videos that were up when the
UTC day began: by popularity, by the user's taste, and uniformly over the newest. What the user has
been shown before, on earlier days or in an earlier slot, is left out and the rest renormalised.
"""

import dataclasses

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.arrays import Bools, Doubles, Floats, Ints
from preprocessing.simulation.catalog import LANGUAGES, Catalog
from preprocessing.simulation.population import Population

# Taste weights are summed over tiles first: a draw picks a tile, then a video in it.
_TILE = 128


class LoggingPolicy:
    """The policy over the whole log."""

    def __init__(self, config: ShortVideoSimulation, catalog: Catalog) -> None:
        """Lays out the videos for one product with users, which gives taste and language."""
        self.config = config
        self.catalog = catalog
        count = len(catalog.creator)
        padded = -(-count // _TILE) * _TILE
        self.table = np.zeros((config.taste_dim + len(LANGUAGES), padded), dtype=np.float32)
        self.table[: config.taste_dim, :count] = catalog.vectors.T
        self.table[config.taste_dim + catalog.language, np.arange(count)] = 1

    def day(self, number: int) -> "DayPolicy":
        """The policy of one UTC day; `number` counts days since the log began, from 0."""
        config, catalog = self.config, self.catalog
        day_start = config.start + number * SECONDS_PER_DAY
        available = int(np.searchsorted(catalog.upload_time, day_start))
        age_days = (day_start - catalog.upload_time[:available]) / SECONDS_PER_DAY
        freshness = config.freshness_boost * np.exp(-age_days / config.freshness_days)
        log_popularity = catalog.log_popularity[:available]
        popularity = np.exp(log_popularity + freshness)
        popularity /= popularity.sum()
        newest = max(1, round(config.exploration_share * available))
        shared = config.popularity_probability * popularity
        shared[-newest:] += config.exploration_probability / newest
        # Less `sharpness`, so that a video of taste 1 weighs about 1.
        bias = np.full(-(-available // _TILE) * _TILE, -np.inf, dtype=np.float32)
        bias[:available] = (
            config.taste_popularity_exponent * log_popularity + freshness - config.sharpness
        )
        return DayPolicy(
            policy=self,
            available=available,
            progress=number / config.days,
            cumulative_popularity=np.cumsum(popularity),
            newest=newest,
            shared=shared,
            taste_bias=bias,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DayPolicy:
    """The policy of one UTC day.

    Attributes:
        policy: of the whole log.
        available: videos that are up when the day begins: the first so many of the catalog.
        progress: share of the log that has passed, for the drift of tastes.
        cumulative_popularity: [available] float64, running sum of the popularity distribution.
        newest: how many of the newest videos are explored.
        shared: [available] float64, the mixture's mass that does not depend on the user.
        taste_bias: [padded] float32, log weight of each video whatever the taste.
    """

    policy: LoggingPolicy
    available: int
    progress: float
    cumulative_popularity: Doubles
    newest: int
    shared: Doubles
    taste_bias: Floats

    def mixture(self, population: Population, users: Ints) -> "Mixture":
        """What the users, [num_rows] int64, may be shown today."""
        config = self.policy.config
        query = np.empty((len(users), config.taste_dim + len(LANGUAGES)), dtype=np.float32)
        query[:, : config.taste_dim] = population.taste(users, self.progress)
        foreign = population.language[users, np.newaxis] != np.arange(len(LANGUAGES))
        query[:, config.taste_dim :] = -config.language_gap * foreign
        query *= np.float32(config.sharpness)
        weights: Floats = query @ self.policy.table[:, : len(self.taste_bias)]
        weights += self.taste_bias
        return Mixture(self, np.exp(weights, out=weights))


class Mixture:
    """What each of some users may be shown on one day, nothing left out yet."""

    def __init__(self, day: DayPolicy, weights: Floats) -> None:
        """Sums the taste policy's weights, [num_rows, padded] float32, by tile."""
        config = day.policy.config
        self._day = day
        self._by_popularity = config.popularity_probability
        self._by_exploration = config.exploration_probability
        self._by_taste = 1 - self._by_popularity - self._by_exploration
        self._weights = weights
        # A product with ones sums the tiles several times faster than sum(axis=2) does.
        tiles = (weights.reshape(-1, _TILE) @ np.ones(_TILE, np.float32)).reshape(len(weights), -1)
        self._tile_cumulative = np.cumsum(tiles, axis=1, dtype=np.float64)
        self._total = self._tile_cumulative[:, -1]

    def probability(self, rows: Ints, videos: Ints) -> Doubles:
        """The probability of each pair of a row and a video; both [num_pairs] int64."""
        taste = self._weights[rows, videos] / self._total[rows]
        return self._day.shared[videos] + self._by_taste * taste

    def all_probabilities(self) -> Floats:
        """The probability of every video that is up, [num_rows, available] float32."""
        scale = (self._by_taste / self._total).astype(np.float32)
        dense = self._weights[:, : self._day.available] * scale[:, np.newaxis]
        dense += self._day.shared.astype(np.float32)
        return dense

    def draw(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """One video for each entry of `rows`, independent draws; int64."""
        day = self._day
        chooser = rng.random(len(rows))
        uniform = rng.random(len(rows))
        videos = np.empty(len(rows), dtype=np.int64)
        popular = chooser < self._by_popularity
        videos[popular] = np.searchsorted(day.cumulative_popularity, uniform[popular], side="right")
        exploring = ~popular & (chooser < self._by_popularity + self._by_exploration)
        videos[exploring] = day.available - 1 - (uniform[exploring] * day.newest).astype(np.int64)
        tasting = ~popular & ~exploring
        videos[tasting] = self._draw_by_taste(rows[tasting], uniform[tasting])
        # Rounding can carry a draw past the last video.
        return np.minimum(videos, day.available - 1)

    def _draw_by_taste(self, rows: Ints, uniform: Doubles) -> Ints:
        # Row r's running shares lie in (r, r + 1], so that one search serves all rows.
        shares = self._tile_cumulative / self._total[:, np.newaxis]
        shares += np.arange(len(shares))[:, np.newaxis]
        tiles = shares.shape[1]
        found = np.searchsorted(shares.ravel(), rows + uniform, side="right")
        tile = np.clip(found - rows * tiles, 0, tiles - 1)
        before = np.where(tile > 0, self._tile_cumulative[rows, tile - 1], 0.0)
        rest = uniform * self._total[rows] - before
        tiled = self._weights.reshape(len(self._weights), tiles, _TILE)
        inside = np.cumsum(tiled[rows, tile], axis=1, dtype=np.float64)
        offset = (inside <= rest[:, np.newaxis]).sum(axis=1)
        return tile * _TILE + np.minimum(offset, _TILE - 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was shown on one day, by row and then in slot order.

    Attributes:
        row: [num_slots] int64.
        video: [num_slots] int64.
        propensity: [num_slots] float64, P(this video in this slot | what was shown before).
    """

    row: Ints
    video: Ints
    propensity: Doubles


def show(
    mixture: Mixture,
    *,
    slots: Ints,
    shown: Bools,
    shown_mass: Doubles,
    rng: np.random.Generator,
) -> Shown:
    """Fills slots without ever repeating a video to a user.

    Drawing from the mixture and discarding what was shown already is drawing from the mixture
    restricted to the rest and renormalised, slot after slot; hence the exact propensity.

    Args:
        mixture: of num_rows users.
        slots: [num_rows] int64, how many slots each fills today; enough videos must be left.
        shown: [num_rows, >= available] bool, what each was shown before today; overwritten.
        shown_mass: [num_rows] float64, the mixture's mass on what was shown before today.
        rng: source of randomness.
    """
    need = slots.copy()
    everyone = np.arange(len(need))
    row_parts: list[Ints] = []
    video_parts: list[Ints] = []
    while need.any():
        # Half again as many draws as needed, so that few rows need another round.
        rows = np.repeat(everyone, np.where(need > 0, need + need // 2 + 2, 0))
        videos = mixture.draw(rows, rng)
        new = ~shown[rows, videos]
        rows, videos = rows[new], videos[new]
        _, first = np.unique(rows * shown.shape[1] + videos, return_index=True)
        first.sort()
        rows, videos = rows[first], videos[first]
        kept = np.arange(len(rows)) - np.searchsorted(rows, everyone)[rows] < need[rows]
        rows, videos = rows[kept], videos[kept]
        shown[rows, videos] = True
        need -= np.bincount(rows, minlength=len(need))
        row_parts.append(rows)
        video_parts.append(videos)
    row = np.concatenate(row_parts)
    order = np.argsort(row, kind="stable")
    row, video = row[order], np.concatenate(video_parts)[order]
    probability = mixture.probability(row, video)
    running = np.cumsum(probability) - probability
    taken = running - running[np.searchsorted(row, everyone[slots > 0])].repeat(slots[slots > 0])
    return Shown(row=row, video=video, propensity=probability / (1 - shown_mass[row] - taken))
