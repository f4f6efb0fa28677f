"""Simulates raw logs with a known oracle.

python -m preprocessing.simulate --output=DIR [--config=configs/streamrec.py]
    [--config.simulation.seed=7]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.progress import Progress, TaskID

from configs.cli import console, define_config, run_app
from configs.files import write_json
from configs.schema import Config, Split
from configs.serialization import to_dict
from configs.simulation import ShortVideoSimulation, StreamRecSimulation
from preprocessing.simulation.output import whole_directory
from preprocessing.simulation.short_video import (
    simulate_short_video,
    summarize_short_video,
    write_short_video,
)
from preprocessing.simulation.streamrec import (
    simulate_streamrec,
    summarize_streamrec,
    write_streamrec,
)


def simulate(
    config: ShortVideoSimulation | StreamRecSimulation,
    *,
    output: str,
    display: Console,
    split: Split | None = None,
) -> dict[str, Any]:
    """Simulates logs and writes them.

    Args:
        config: which simulation, and its parameters.
        output: the directory to make; it must not exist, or be empty. It gets `events/`,
            `videos`, `users` and `truth` tables, and `simulation.json` with the parameters and
            the summary. Nothing appears there before all is written.
        display: where progress is drawn.
        split: where the oracle's test period begins; by default where the default split does.

    Returns:
        The summary.

    Raises:
        UserError: a parameter makes no sense, or `output` is taken or cannot be written.
    """
    config.validate()
    split = split or Split()
    with whole_directory(output) as directory, Progress(console=display) as progress:
        if isinstance(config, StreamRecSimulation):
            task = progress.add_task("interactions", total=None)
            drawn = simulate_streamrec(config, split=split)
            progress.update(task, total=1, completed=1)
            write_streamrec(config, drawn, directory)
            summary = summarize_streamrec(drawn)
        else:
            tasks: dict[str, TaskID] = {}

            def advance(stage: str, share: float) -> None:
                if stage not in tasks:
                    tasks[stage] = progress.add_task(stage, total=1.0)
                progress.advance(tasks[stage], share)

            logs = simulate_short_video(config, split=split, progress=advance)
            write_short_video(logs, directory)
            summary = summarize_short_video(logs)
        write_json(directory / "simulation.json", {"parameters": to_dict(config), **summary})
    return summary


def tables_in(logs: Path) -> dict[str, str]:
    """Where the tables of simulated logs are, as `preprocessing.job.preprocess` takes them."""
    return {
        "events": str(logs / "events"),
        "videos": str(logs / "videos.parquet"),
        "users": str(logs / "users.parquet"),
    }


def run(config: Config, *, output: str) -> Mapping[str, Any]:
    """Simulates what the config says; returns what the command prints last."""
    summary = simulate(config.simulation, output=output, display=console(), split=config.data.split)
    return {"output": output, **summary}


if __name__ == "__main__":
    # Here and not above, so that a program may import `simulate` and have such flags of its own.
    _CONFIG = define_config()
    _OUTPUT = flags.DEFINE_string("output", None, "Directory to make.", required=True)
    run_app(lambda argv: run(_CONFIG(), output=_OUTPUT.value))
