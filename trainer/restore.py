"""A finished training run, opened again: for export and for evaluation."""

from pathlib import Path

from absl import logging

from configs.errors import UserError
from configs.schema import Config
from preprocessing import manifest as manifests
from trainer.checkpoints import (
    CHECKPOINTS,
    newest_readable,
    path_of,
    problem_of,
    read_weights,
    steps_in,
)
from trainer.dataset import Dataset, open_dataset
from trainer.model import TwoTower
from trainer.workdir import read_run, require_not_failed, validations_of


def restore_run(
    workdir: Path,
    dataset_dir: Path | None = None,
    *,
    step: int | None = None,
    flag: str = "--workdir",
) -> tuple[Config, Dataset, TwoTower, int]:
    """Opens the config, dataset and a checkpoint of a run.

    Args:
        workdir: of the run.
        dataset_dir: instead of the dataset that it was trained on; its features and assets must
            be the same.
        step: of the checkpoint; by default the one that validation chose of a run that is over,
            and of others the newest that can be read.
        flag: that names the run, for messages.

    Returns:
        Config, dataset, model with the checkpoint's weights, and the checkpoint's step.

    Raises:
        UserError: there is no run, it diverged, no checkpoint (or not that of `step`) can be read,
            or the dataset is another.
    """
    config, run = read_run(workdir, flag=flag)
    require_not_failed(workdir, flag=flag)
    config = config.validate()
    where = f"{flag}={workdir}: its dataset" if dataset_dir is None else manifests.DATASET
    dataset = open_dataset(dataset_dir or run["dataset"], config, where=where)
    if dataset.manifest.assets_fingerprint != run["assets_fingerprint"]:
        raise UserError(
            f"{where}={dataset.root}: found assets {dataset.manifest.assets_fingerprint[:12]}, "
            f"expected {run['assets_fingerprint'][:12]}, those of the training run"
        )
    chosen = validations_of(workdir, config, run).chosen
    step = _readable(workdir / CHECKPOINTS, step, chosen, where=f"{flag}={workdir}")
    model = TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)
    read_weights(workdir / CHECKPOINTS, step, model)
    return config, dataset, model, step


def _readable(directory: Path, step: int | None, chosen: int | None, *, where: str) -> int:
    """The step that is asked for, or that was chosen, or the newest; its checkpoint can be read."""
    if step is None:
        step = newest_readable(directory, first=chosen, warn=logging.warning)
        if step is None:
            raise UserError(f"{where}: found no checkpoint in {directory}, expected one")
        return step
    there = steps_in(directory)
    if step not in there:
        raise UserError(
            f"--step={step}: found checkpoints of steps {', '.join(map(str, there)) or 'none'} in "
            f"{directory}, expected one of them"
        )
    problem = problem_of(path_of(directory, step))
    if problem is not None:
        raise UserError(f"--step={step}: its checkpoint in {directory} cannot be read: {problem}")
    return step
