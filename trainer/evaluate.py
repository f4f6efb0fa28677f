"""`python -m trainer.evaluate`: a trained run or an export beside the baselines, with a report."""

import enum
from pathlib import Path
from typing import Any

from absl import flags

from configs.baselines import BaselineKind
from configs.cli import console, run_app
from configs.errors import UserError
from configs.schema import Protocol


class _Split(enum.Enum):
    VALIDATION = "validation"
    TEST = "test"


_WORKDIR = flags.DEFINE_string("workdir", None, "A run of trainer.task.")
_STEP = flags.DEFINE_integer("step", None, "Of the checkpoint, if not the one that counts.")
_MODEL = flags.DEFINE_string("model", None, "Or an exported version, such as models/retrieval/1.")
_DATASET = flags.DEFINE_string("dataset", None, "Whose queries; by default that of the run.")
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Directory of metrics.json and report.html; by default WORKDIR/evaluation/SPLIT.",
)
_SPLIT = flags.DEFINE_enum_class("split", _Split.TEST, _Split, "Which queries.")
_PROTOCOLS = flags.DEFINE_multi_enum_class(
    "protocol", None, Protocol, "Again for each; by default all that the dataset has queries of."
)
_BASELINES = flags.DEFINE_bool("baselines", True, "Measure the baselines too.")
_BASELINE = flags.DEFINE_multi_enum_class(
    "baseline", None, BaselineKind, "Again for each; by default those of the config."
)
_TUNE = flags.DEFINE_bool("tune_baselines", False, "Choose their parameters on validation first.")
_COMPARE_LISTS = flags.DEFINE_string(
    "compare_lists",
    None,
    "Parquet file with user_id, rank and video_id: lists to measure beside the model by window.",
)


def main(argv: list[str]) -> dict[str, Any]:
    """Evaluates and returns the headline."""
    del argv
    if (_WORKDIR.value is None) == (_MODEL.value is None):
        raise UserError(
            f"--workdir={_WORKDIR.value} --model={_MODEL.value}: expected one of the two"
        )
    if _MODEL.value is not None:
        for flag in (_DATASET, _OUTPUT):
            if flag.value is None:
                raise UserError(f"--{flag.name}: found none, expected one with --model")
    if _STEP.value is not None and _WORKDIR.value is None:
        raise UserError(f"--step={_STEP.value}: expected --workdir with it, found --model")
    for name, given in ((_TUNE.name, _TUNE.value), (_BASELINE.name, _BASELINE.value)):
        if given and not _BASELINES.value:
            raise UserError(f"--{name}: found --nobaselines, expected baselines with it")
    output = Path(_OUTPUT.value or Path(_WORKDIR.value or "") / "evaluation" / _SPLIT.value.value)

    from trainer.reevaluation import evaluate_again  # Only now: TensorFlow takes seconds.

    metrics = evaluate_again(
        workdir=_path(_WORKDIR.value),
        step=_STEP.value,
        model=_path(_MODEL.value),
        dataset_dir=_path(_DATASET.value),
        output=output,
        split=_SPLIT.value.value,
        protocols=_PROTOCOLS.value or (),
        baselines=_BASELINE.value if _BASELINES.value else (),
        tune=_TUNE.value,
        compare_lists=_path(_COMPARE_LISTS.value),
        console=console(),
    )
    return {
        "output": str(output),
        "metrics": {name: found["models"] for name, found in metrics["protocols"].items()},
    }


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


if __name__ == "__main__":
    run_app(main)
