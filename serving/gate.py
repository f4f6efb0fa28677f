"""`python -m serving.gate`: checks what `serving.export --candidate` left, before it is visible."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.publishing import require_candidate

_CANDIDATE = flags.DEFINE_string(
    "candidate", None, "Hidden directory of the version, as serving.export said.", required=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run that it was made from.", required=True)
_DATASET = flags.DEFINE_string("dataset", None, "Instead of the dataset of the training run.")


def main(argv: list[str]) -> dict[str, Any]:
    """Checks and returns what was found."""
    del argv
    candidate = Path(_CANDIDATE.value)
    require_candidate(candidate)
    from serving.gating import check_candidate  # Only now: TensorFlow takes seconds.

    report = check_candidate(
        candidate,
        Path(_WORKDIR.value),
        dataset_dir=Path(_DATASET.value) if _DATASET.value else None,
        console=console(),
    )
    return {"candidate": str(candidate), "gate": report["gate"]}


if __name__ == "__main__":
    run_app(main)
