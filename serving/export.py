"""`python -m serving.export`: a trained model and its index as one SavedModel version."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.publish_flags import define_force, define_version

_WORKDIR = flags.DEFINE_string("workdir", None, "What trainer.task wrote.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Base path of the model's versions.", required=True)
_DATASET = flags.DEFINE_string("dataset", None, "Instead of the dataset of the training run.")
_VERSION = define_version()
_TWIN = flags.DEFINE_bool(
    "twin", False, "Also export a version without custom operations, below OUTPUT_twin."
)
_FORCE = define_force()
_CANDIDATE = flags.DEFINE_string(
    "candidate", None, "Leave it under this name for serving.gate and serving.publish, hidden."
)
_FORGET_REMOVED = flags.DEFINE_bool(
    "forget_removed", False, "Let items come back that serving.update removed."
)


def main(argv: list[str]) -> dict[str, Any]:
    """Exports and returns the report."""
    del argv
    from serving.exporter import Options, export  # Only now: TensorFlow takes seconds.

    return export(
        Path(_WORKDIR.value),
        Path(_OUTPUT.value),
        dataset_dir=Path(_DATASET.value) if _DATASET.value else None,
        options=Options(
            version=_VERSION.value,
            twin=_TWIN.value,
            force=_FORCE.value,
            forget_removed=_FORGET_REMOVED.value,
            candidate=_CANDIDATE.value,
        ),
        console=console(),
    )


if __name__ == "__main__":
    run_app(main)
