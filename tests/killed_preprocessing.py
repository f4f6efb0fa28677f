"""Runs the Beam job and kills it with SIGKILL at one stage after another; run as a program."""

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems
from rich.console import Console

from configs import files
from preprocessing import job
from preprocessing.stages import intake, items, labelling, user_rows


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def after(calls: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Does what `real` does so many times, then dies."""
    left = [calls]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        return die() if left[0] < 0 else real(*args, **kwargs)

    return call


STAGES: dict[str, tuple[Any, str, int]] = {
    "reading": (intake, "parse_lines", 2),
    "putting in order": (intake, "deduplicate", 1),
    "labelling": (labelling, "label", 1),
    "numbering": (items, "build_catalog", 0),
    "features": (user_rows, "Group", 1),
    "some files": (FileSystems, "rename", 4),
    "manifest": (files.os, "replace", 0),
    "sweeping": (job, "sweep", 0),
}
"""By stage: what is called there, and how often before the process dies."""


def main() -> None:
    """Takes a pickled (config, tables, outputs by stage); prints what became of each child."""
    config, tables, outputs = pickle.loads(sys.stdin.buffer.read())
    ended = {}
    for stage, output in outputs.items():
        child = os.fork()  # one process for each would import Beam each time
        if child == 0:
            owner, name, calls = STAGES[stage]
            setattr(owner, name, after(calls, getattr(owner, name)))
            job.preprocess(config, tables=tables, output=Path(output), display=Console(quiet=True))
            os._exit(0)
        ended[stage] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        names = sorted(path.name for path in Path(output).iterdir())
        ended[stage] = [ended[stage], names]
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
