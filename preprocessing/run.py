"""Raw logs to a dataset.

python -m preprocessing.run --config=C --events=... --videos=... [--users=...] --output=DATASET
    [--previous=DATASET] [--window_days=30] [-- Beam options]
"""

import logging
from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import Arguments, console, define_config, run_app

_CONFIG = define_config()
_TABLE = "file, directory or glob of .parquet, .jsonl or .jsonl.gz"
_EVENTS = flags.DEFINE_string("events", None, f"Table of events: {_TABLE}.", required=True)
_VIDEOS = flags.DEFINE_string("videos", None, f"Table of videos: {_TABLE}.", required=True)
_USERS = flags.DEFINE_string("users", None, f"Table of users: {_TABLE}; may be left out.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory of the dataset.", required=True)
_PREVIOUS = flags.DEFINE_string(
    "previous", None, "Earlier dataset; its vocabulary ids are kept, so that training can go on."
)
_WINDOW_DAYS = flags.DEFINE_integer(
    "window_days", None, "Take the events of the last so many UTC days only.", lower_bound=1
)


def main(argv: list[str]) -> dict[str, Any]:
    """Preprocesses, and returns what the dataset holds."""
    logging.disable(logging.WARNING)  # Beam warns of clouds that it cannot reach while it loads.
    from preprocessing.job import preprocess

    logging.disable(logging.NOTSET)
    tables = {"events": _EVENTS.value, "videos": _VIDEOS.value, "users": _USERS.value}
    return preprocess(
        _CONFIG(),
        tables={name: where for name, where in tables.items() if where},
        output=Path(_OUTPUT.value),
        beam_options=argv[1:],
        window_days=_WINDOW_DAYS.value or 0,
        previous=Path(_PREVIOUS.value) if _PREVIOUS.value else None,
        display=console(),
    )


if __name__ == "__main__":
    run_app(main, arguments=Arguments.AFTER_DASHES)
