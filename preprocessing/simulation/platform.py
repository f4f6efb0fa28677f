"""The platform that is simulated: its parameters, videos and users."""

import dataclasses

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation.arrays import Doubles, Floats, Ints
from preprocessing.simulation.behaviour import Chances, chances
from preprocessing.simulation.catalog import Catalog
from preprocessing.simulation.population import Population


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What stays as it is while the log runs.

    Attributes:
        config: the parameters.
        catalog: the videos.
        population: the users.
    """

    config: ShortVideoSimulation
    catalog: Catalog
    population: Population

    def taste(self, vectors: Floats, *, users: Ints, videos: Ints) -> Doubles:
        """Tastes of users for videos, pair by pair.

        Args:
            vectors: [num_pairs, taste_dim] float32, the users' vectors at the time.
            users: [num_pairs] int64.
            videos: [num_pairs] int64.

        Returns:
            [num_pairs] float64, about -1 to 1.
        """
        match = np.einsum("nd,nd->n", vectors, self.catalog.vectors[videos]).astype(np.float64)
        foreign = self.population.language[users] != self.catalog.language[videos]
        return match - self.config.language_gap * foreign

    def chances(self, taste: Doubles, *, videos: Ints) -> Chances:
        """Chances of responses to videos, [num_pairs] int64, given the tastes for them."""
        return chances(
            self.config,
            taste=taste,
            quality=self.catalog.quality[videos],
            log_duration=self.catalog.log_duration[videos],
        )
