"""`python -m trainer.task`: trains on a dataset and measures the model on the full catalog."""

from typing import Any

from absl import flags

from configs.cli import console, define_config, run_app
from configs.evaluation import HEADLINE
from preprocessing.manifest import Verify

_CONFIG = define_config()
_DATASET = flags.DEFINE_string("dataset", None, "What preprocessing.run wrote.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Checkpoints, logs and metrics.", required=True)
_COMPARE_LISTS = flags.DEFINE_string(
    "compare_lists",
    None,
    "Parquet file with user_id, rank and video_id: lists to measure beside the model by window.",
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Workdir of an earlier run to start from; the dataset continues its own."
)
_VERIFY = flags.DEFINE_enum_class(
    "verify",
    Verify.FULL,
    Verify,
    "Check the dataset's files by hash, or only that each has its size.",
)


def main(argv: list[str]) -> dict[str, Any]:
    """Trains, evaluates, and returns the headline."""
    del argv
    config = _CONFIG()
    from trainer.train import train_and_evaluate  # Only now: TensorFlow takes seconds.

    result = train_and_evaluate(
        config,
        _DATASET.value,
        _WORKDIR.value,
        console=console(),
        verify=_VERIFY.value,
        compare_lists=_COMPARE_LISTS.value,
        initial_run=_INIT_FROM.value,
    )
    return {
        "workdir": _WORKDIR.value,
        "steps": result.steps,
        "loss": result.loss,
        "metrics": {
            protocol: {
                model: {name: values[name] for name in HEADLINE if name in values}
                for model, values in found["models"].items()
            }
            for protocol, found in result.metrics["protocols"].items()
        },
    }


if __name__ == "__main__":
    run_app(main)
