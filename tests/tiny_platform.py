"""A short-video platform small enough for tests."""

from typing import Any

from configs.schema import Split
from configs.simulation import ShortVideoSimulation
from preprocessing.simulation.short_video import ShortVideoLogs, simulate_short_video


def small(**changes: Any) -> ShortVideoSimulation:
    """Its parameters, some changed."""
    return ShortVideoSimulation(
        **{"users": 300, "videos": 1_500, "creators": 80, "days": 21, "truth_depth": 100} | changes
    )


def run(config: ShortVideoSimulation) -> ShortVideoLogs:
    """Simulates it."""
    return simulate_short_video(config, split=Split(), progress=lambda stage, share: None)
