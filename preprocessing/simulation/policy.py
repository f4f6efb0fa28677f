"""The logging policy: what is shown to whom on a day, with its exact propensity.

Each slot draws a video from a mixture of three distributions over the videos that were up when the
day began: by popularity, by the user's taste, and uniformly over the newest. What the user has been
shown before, on earlier days or in an earlier slot, is left out and the rest renormalised.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation.catalog import DAY_S, LANGUAGES, Catalog, Doubles, Floats, Ints
from preprocessing.simulation.population import Population

# Taste weights are summed over tiles first: a draw picks a tile, then a video in it.
_TILE = 128

Bools = npt.NDArray[np.bool_]


class DayPolicy:
    """The policy of one UTC day, the same for all users but for their taste."""

    def __init__(self, config: ShortVideoSimulation, catalog: Catalog, *, day: int) -> None:
        """Prepares the day's shared distributions.

        Args:
            config: the simulation.
            catalog: the videos, in upload order.
            day: days since the log began, from 0.
        """
        day_start = config.start + day * DAY_S
        self.available = int(np.searchsorted(catalog.upload_time, day_start))
        self.progress = day / config.days
        self._config = config
        padded = -(-self.available // _TILE) * _TILE
        age_days = (day_start - catalog.upload_time[: self.available]) / DAY_S
        freshness = config.freshness_boost * np.exp(-age_days / config.freshness_days)
        log_popularity = catalog.log_popularity[: self.available]

        weight = np.exp(log_popularity + freshness)
        self._popularity = weight / weight.sum()
        newest = max(1, round(config.exploration_share * self.available))
        self._exploration = np.zeros(self.available)
        self._exploration[-newest:] = 1 / newest
        self._newest = newest
        self._cumulative_popularity = np.cumsum(self._popularity)

        # One product gives log weights: taste, language and the day's bias in one row per video.
        # Shifted so that the largest is about 1.
        bias = config.taste_popularity_exponent * log_popularity + freshness - config.sharpness
        table = np.zeros((padded, config.taste_dim + len(LANGUAGES) + 1), dtype=np.float32)
        table[: self.available, : config.taste_dim] = catalog.vectors[: self.available]
        table[np.arange(self.available), config.taste_dim + catalog.language[: self.available]] = 1
        table[: self.available, -1] = bias
        table[self.available :, -1] = -np.inf
        self._table = np.ascontiguousarray(table.T)

    def taste_weights(self, population: Population, users: Ints) -> Floats:
        """Unnormalised weights of the taste policy.

        Args:
            population: all users.
            users: [num_rows] int64.

        Returns:
            [num_rows, padded number of videos] float32; 0 where no video is up yet.
        """
        config = self._config
        query = np.empty((len(users), self._table.shape[0]), dtype=np.float32)
        query[:, : config.taste_dim] = population.taste(users, self.progress)
        query[:, : config.taste_dim] *= np.float32(config.sharpness)
        foreign = population.language[users, np.newaxis] != np.arange(len(LANGUAGES))
        query[:, config.taste_dim : -1] = -config.sharpness * config.language_gap * foreign
        query[:, -1] = 1
        weights: Floats = query @ self._table
        return np.exp(weights, out=weights)

    def mixture(self, weights: Floats) -> "Mixture":
        """The day's mixture for the users whose `taste_weights` are given."""
        return Mixture(self, weights)


class Mixture:
    """What each of some users may be shown on one day.

    Attributes:
        weights: [num_rows, padded number of videos] float32, the taste policy's.
        total: [num_rows] float64, their sums.
    """

    def __init__(self, day: DayPolicy, weights: Floats) -> None:
        """Sums the weights by tile."""
        self._day = day
        self.weights = weights
        # A product with ones sums the tiles several times faster than sum(axis=2) does.
        tiles = (weights.reshape(-1, _TILE) @ np.ones(_TILE, np.float32)).reshape(len(weights), -1)
        self._tile_cumulative = np.cumsum(tiles, axis=1, dtype=np.float64)
        self.total = self._tile_cumulative[:, -1]

    def probability(self, rows: Ints, videos: Ints) -> Doubles:
        """The mixture's probability of each (row, video), nothing left out; float64."""
        config = self._day._config
        taste = 1 - config.popularity_probability - config.exploration_probability
        return (
            config.popularity_probability * self._day._popularity[videos]
            + config.exploration_probability * self._day._exploration[videos]
            + taste * self.weights[rows, videos] / self.total[rows]
        )

    def dense_probability(self) -> Doubles:
        """The mixture's probability of every video that is up, [num_rows, available] float64."""
        config = self._day._config
        taste = 1 - config.popularity_probability - config.exploration_probability
        shared = (
            config.popularity_probability * self._day._popularity
            + config.exploration_probability * self._day._exploration
        )
        share = self.weights[:, : self._day.available] / self.total[:, np.newaxis]
        return shared + taste * share

    def draw(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """One video for each entry of `rows`, independent draws from the mixture; int64."""
        config, day = self._day._config, self._day
        chooser = rng.random(len(rows))
        uniform = rng.random(len(rows))
        videos = np.empty(len(rows), dtype=np.int64)
        by_popularity = chooser < config.popularity_probability
        videos[by_popularity] = np.searchsorted(
            day._cumulative_popularity, uniform[by_popularity], side="right"
        )
        explore = config.popularity_probability + config.exploration_probability
        exploring = ~by_popularity & (chooser < explore)
        videos[exploring] = (
            day.available - day._newest + (uniform[exploring] * day._newest).astype(np.int64)
        )
        by_taste = chooser >= explore
        videos[by_taste] = self._draw_by_taste(rows[by_taste], uniform[by_taste])
        # Rounding can carry a draw past the last video.
        return np.minimum(videos, day.available - 1)

    def _draw_by_taste(self, rows: Ints, uniform: Doubles) -> Ints:
        # Row r's cumulative shares lie in (r, r + 1]: one search serves all rows.
        shares = self._tile_cumulative / self.total[:, np.newaxis]
        shares += np.arange(len(shares))[:, np.newaxis]
        tiles_per_row = shares.shape[1]
        flat = np.searchsorted(shares.ravel(), rows + uniform, side="right")
        tile = np.clip(flat - rows * tiles_per_row, 0, tiles_per_row - 1)
        before = np.where(tile > 0, self._tile_cumulative[rows, tile - 1], 0.0)
        rest = uniform * self.total[rows] - before
        tiled = self.weights.reshape(len(self.weights), tiles_per_row, _TILE)
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
    mixture: Mixture, slots: Ints, shown: Bools, earlier: Doubles, rng: np.random.Generator
) -> Shown:
    """Fills slots without ever repeating a video to a user.

    Drawing from the mixture and discarding what was shown already is drawing from the mixture
    restricted to the rest and renormalised, slot after slot; hence the exact propensity.

    Args:
        mixture: of num_rows users.
        slots: [num_rows] int64, how many slots each fills today; enough videos must be left.
        shown: [num_rows, >= available] bool, what each was shown before; updated in place.
        earlier: [num_rows] float64, the mixture's mass on what was shown before today.
        rng: source of randomness.
    """
    need = slots.copy()
    row_parts: list[Ints] = []
    video_parts: list[Ints] = []
    while need.any():
        # Half again as many draws as needed, so that few rows need another round.
        rows = np.repeat(np.arange(len(need)), np.where(need > 0, need + need // 2 + 2, 0))
        videos = mixture.draw(rows, rng)
        fresh = ~shown[rows, videos]
        rows, videos = rows[fresh], videos[fresh]
        _, first = np.unique(rows * shown.shape[1] + videos, return_index=True)
        first.sort()
        rows, videos = rows[first], videos[first]
        starts = np.searchsorted(rows, np.arange(len(need)))
        kept = np.arange(len(rows)) - starts[rows] < need[rows]
        rows, videos = rows[kept], videos[kept]
        shown[rows, videos] = True
        need -= np.bincount(rows, minlength=len(need))
        row_parts.append(rows)
        video_parts.append(videos)
    if not row_parts:
        empty = np.empty(0, dtype=np.int64)
        return Shown(row=empty, video=empty, propensity=np.empty(0))
    row = np.concatenate(row_parts)
    order = np.argsort(row, kind="stable")
    row, video = row[order], np.concatenate(video_parts)[order]
    probability = mixture.probability(row, video)
    running = np.cumsum(probability) - probability
    starts = np.searchsorted(row, np.arange(len(slots)))
    taken = running - np.append(running, 0.0)[starts][row]
    return Shown(row=row, video=video, propensity=probability / (1 - earlier[row] - taken))
