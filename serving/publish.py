"""`python -m serving.publish`: makes a version visible that the gate has passed."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.publishing import publish, published
from serving.version_dirs import LARGEST_VERSION

_CANDIDATE = flags.DEFINE_string(
    "candidate", None, "What serving.gate passed, or a version it refused.", required=True
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "Instead of the newest version plus one; above the newest.",
    lower_bound=0,
    upper_bound=LARGEST_VERSION,
)
_FORCE = flags.DEFINE_bool("force", False, "Publish what the gate refused; it is logged.")


def main(argv: list[str]) -> dict[str, Any]:
    """Publishes and returns the report."""
    del argv
    candidate = Path(_CANDIDATE.value)
    report = publish(candidate, version=_VERSION.value, force=_FORCE.value)
    return published(candidate.parent, report, console())


if __name__ == "__main__":
    run_app(main)
