"""The directory of a run: which run it belongs to, and how it ended."""

import json
from pathlib import Path

from configs.errors import UserError
from configs.files import write_json
from configs.schema import Config
from configs.serialization import to_dict
from preprocessing.features import differences
from trainer.dataset import Dataset

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
TENSORBOARD = "tensorboard"
FAILED_FILE = "failed.json"
"""There while the last training diverged; what it says of the model is in `error`."""


def claim(work: Path, config: Config, dataset: Dataset) -> None:
    """Writes `run.json`, or checks that the one there is this run's.

    Raises:
        UserError: the directory belongs to a run of another dataset or another config.
    """
    mine = {
        "config": json.loads(json.dumps(to_dict(config))),
        "dataset": str(dataset.root.resolve()),
        "spec_fingerprint": dataset.manifest.spec_fingerprint,
        "assets_fingerprint": dataset.manifest.assets_fingerprint,
        # Not compared: they say what the dataset was made of.
        "window_days": dataset.manifest.window_days,
        "previous": dataset.manifest.previous,
    }
    path = work / RUN_FILE
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name in ("spec_fingerprint", "assets_fingerprint"):
            if found[name] != mine[name]:
                raise UserError(
                    f"--workdir={work}: its run has {name} {found[name]}, the dataset has "
                    f"{mine[name]}; expected a new workdir for another dataset"
                )
        for part in ("model", "loss", "train"):
            if found["config"][part] != mine["config"][part]:
                first, *_ = differences(found["config"][part], mine["config"][part])
                raise UserError(
                    f"--workdir={work}: its run has another config.{part}: {first}; expected a "
                    "new workdir, or the same config to resume"
                )
    try:
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)
    except OSError as error:
        raise UserError(f"--workdir={work}: cannot be written: {error.strerror}") from None
    (work / FAILED_FILE).unlink(missing_ok=True)


def mark_failed(work: Path, error: Exception) -> None:
    """Notes that training diverged, so that nothing is exported of it."""
    write_json(work / FAILED_FILE, {"error": str(error)})


def require_not_failed(work: Path) -> None:
    """Refuses a run that diverged.

    Raises:
        UserError: the last training in this directory stopped by itself; says why.
    """
    path = work / FAILED_FILE
    if path.exists():
        error = json.loads(path.read_text(encoding="utf-8"))["error"]
        raise UserError(f"--workdir={work}: its training failed: {error}")
