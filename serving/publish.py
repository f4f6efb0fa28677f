"""`python -m serving.publish`: makes a version visible that the gate has passed."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.publish_flags import define_force, define_version
from serving.publishing import publish, published

_CANDIDATE = flags.DEFINE_string(
    "candidate", None, "What serving.gate passed, or a version it refused.", required=True
)
_VERSION = define_version()
_FORCE = define_force()


def main(argv: list[str]) -> dict[str, Any]:
    """Publishes and returns the report."""
    del argv
    candidate = Path(_CANDIDATE.value)
    report = publish(candidate, version=_VERSION.value, force=_FORCE.value)
    return published(candidate.parent, report, console())


if __name__ == "__main__":
    run_app(main)
