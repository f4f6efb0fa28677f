"""Simulates raw logs with a known oracle.

python -m preprocessing.simulate --output=DIR [--config=configs/streamrec.py]
    [--config.simulation.seed=7]
"""

import dataclasses
import enum
import os
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.progress import Progress, TaskID

from configs.cli import console, run_app
from configs.simulation import ShortVideoSimulation, StreamRecSimulation
from preprocessing.simulation.output import whole_directory, write_json
from preprocessing.simulation.short_video import simulate_world, summarize, write_world
from preprocessing.simulation.streamrec import (
    simulate_streamrec,
    summarize_streamrec,
    write_streamrec,
)

_DEFAULT_CONFIG = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs", "default.py"
)


def simulate(
    config: ShortVideoSimulation | StreamRecSimulation, *, output: str, display: Console
) -> dict[str, Any]:
    """Simulates logs and writes them.

    Args:
        config: which simulation, and its parameters.
        output: the directory to make; it must not exist, or be empty. It gets `events/`,
            `videos`, `users` and `truth` tables, and `simulation.json` with the parameters and
            the summary. Nothing appears there before all is written.
        display: where progress is drawn.

    Returns:
        The summary.

    Raises:
        UserError: a parameter makes no sense, or `output` is taken or cannot be written.
    """
    config.validate()
    with whole_directory(output) as directory, Progress(console=display) as progress:
        if isinstance(config, StreamRecSimulation):
            task = progress.add_task("interactions", total=None)
            drawn = simulate_streamrec(config)
            progress.update(task, total=1, completed=1)
            write_streamrec(config, drawn, directory)
            summary = summarize_streamrec(drawn)
        else:
            tasks: dict[str, TaskID] = {}

            def advance(stage: str, share: float) -> None:
                if stage not in tasks:
                    tasks[stage] = progress.add_task(stage, total=1.0)
                progress.advance(tasks[stage], share)

            world = simulate_world(config, progress=advance)
            write_world(config, world, directory)
            summary = summarize(world)
        write_json({"parameters": _parameters(config), **summary}, directory / "simulation.json")
    return summary


def _parameters(config: ShortVideoSimulation | StreamRecSimulation) -> Mapping[str, Any]:
    return {
        name: value.value if isinstance(value, enum.Enum) else value
        for name, value in dataclasses.asdict(config).items()
    }


def main(argv: list[str]) -> Mapping[str, Any]:
    """Runs the command."""
    del argv
    config = _CONFIG.value.simulation
    summary = simulate(config, output=_OUTPUT.value, display=console())
    return {"output": _OUTPUT.value, **summary}


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", default=_DEFAULT_CONFIG)
    _OUTPUT = flags.DEFINE_string("output", None, "Directory to make.", required=True)
    run_app(main)
