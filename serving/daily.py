"""`python -m serving.daily`: from a day's logs to a published version, for a scheduler to call."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import config_arguments, console, define_config, run_app
from configs.errors import UserError
from serving.day import is_day, print_summary, run_day, steps_of_day

_CONFIG = define_config()
_EVENTS = flags.DEFINE_string("events", None, "Raw events, as preprocessing.run.", required=True)
_VIDEOS = flags.DEFINE_string("videos", None, "Raw videos.", required=True)
_USERS = flags.DEFINE_string("users", "", "Raw users, if there are any.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Holds a directory for each day.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Base path of the model's versions.", required=True)
_DAY = flags.DEFINE_string("day", None, "YYYY-MM-DD; today (UTC) without it.")
_TWIN = flags.DEFINE_bool("twin", False, "Also export a version without custom operations.")


def main(argv: list[str]) -> dict[str, Any]:
    """Runs what is not done of the day and returns the summary."""
    del argv
    _CONFIG()  # a mistake in it is told now, not by the first step
    day = _DAY.value or datetime.now(UTC).date().isoformat()
    if not is_day(day):
        raise UserError(f"--day: found {day!r}, expected YYYY-MM-DD")
    day_dir = Path(_WORKDIR.value) / day
    steps = steps_of_day(
        day_dir,
        Path(_OUTPUT.value),
        tables={"events": _EVENTS.value, "videos": _VIDEOS.value, "users": _USERS.value},
        config_flags=config_arguments(sys.argv[1:]),
        export_flags=["--twin"] if _TWIN.value else [],
    )
    summary = run_day(day_dir, steps, console=console())
    print_summary(summary, console())
    return {"day": day, "model": summary["publish"]["result"]["model"], "steps": summary}


if __name__ == "__main__":
    run_app(main)
