"""A finished run or an export, evaluated whenever and on whatever its dataset has queries of."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.baselines import BaselineKind
from configs.errors import UserError
from configs.kinds import KINDS
from configs.schema import Config, Protocol
from configs.serialization import from_dict
from preprocessing import manifest as manifests
from trainer.dataset import Dataset, open_dataset
from trainer.lists import load_lists
from trainer.recommenders import Export, Recommender, Towers
from trainer.restore import restore_run
from trainer.results import evaluate_and_write
from trainer.tuning import tune_baselines
from trainer.workdir import TENSORBOARD, told_step


def evaluate_again(
    *,
    workdir: Path | None,
    step: int | None,
    model: Path | None,
    dataset_dir: Path | None,
    output: Path,
    split: str,
    protocols: Sequence[Protocol],
    baselines: Sequence[BaselineKind] | None,
    tune: bool,
    compare_lists: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, or an exported version.

    Args:
        workdir: of the run; with
        step: of the checkpoint, by default the one that counts; or
        model: directory of an exported version.
        dataset_dir: whose queries; a run knows its own.
        output: `metrics.json` and `report.html` go here.
        split: `validation` or `test`.
        protocols: which; all that the dataset has queries of where there are none.
        baselines: that are measured too; None: those of the config.
        tune: choose the baselines' parameters on the validation split first.
        compare_lists: Parquet file of ranked lists to measure beside the model by `window`.
        console: for progress and tables.

    Returns:
        What `metrics.json` holds.

    Raises:
        UserError: there is no such run or export, it is of another dataset, or the dataset has no
            queries to ask.
    """
    recommender: Recommender
    if workdir is not None:
        config, dataset, towers, step = restore_run(workdir, dataset_dir, step=step)
        config = _asking(config, dataset, split, protocols, baselines)
        recommender = Towers(towers, dataset, split=split)
        told = told_step(workdir, step)
        console.print(f"{workdir}: the checkpoint of {told}")
        source, logs = f"{workdir.resolve().name}, {told}", workdir / TENSORBOARD
    else:
        assert model is not None and dataset_dir is not None, "one of the two"
        config, dataset = _open_as_made(dataset_dir)
        config = _asking(config, dataset, split, protocols, baselines)
        recommender = Export(model, dataset, exclude_seen=config.eval.exclude_seen)
        source, logs = "/".join(model.resolve().parts[-2:]), None
    others = (
        {compare_lists.stem: load_lists(compare_lists, dataset.catalog)} if compare_lists else {}
    )
    tuning = None
    if tune:
        config.eval.baselines, tuning = tune_baselines(config, dataset, console=console)
    return evaluate_and_write(
        config,
        dataset,
        recommender,
        source=source,
        split=split,
        output=output,
        console=console,
        with_baselines=baselines is None or bool(baselines),
        others=others,
        tuning=tuning,
        training_logs=logs,
    )


def _open_as_made(directory: Path) -> tuple[Config, Dataset]:
    """A dataset with the config that it was made with."""
    made_with = manifests.read(directory).config
    config: Config = from_dict(Config, made_with, kinds=KINDS).validate()
    return config, open_dataset(directory, config)


def _asking(
    config: Config,
    dataset: Dataset,
    split: str,
    wanted: Sequence[Protocol],
    baselines: Sequence[BaselineKind] | None,
) -> Config:
    """The config with the protocols that are wanted and there, and the baselines."""
    there = [p for p in Protocol if dataset.manifest.part(f"queries/{split}/{p.value}")]
    missing = [p.value for p in wanted if p not in there]
    if missing or not there:
        raise UserError(
            f"--dataset={dataset.root}: found {split} queries of "
            f"{', '.join(p.value for p in there) or 'no protocol'}, expected "
            f"{missing[0] if missing else 'some'}"
        )
    config = copy.deepcopy(config)
    config.eval.protocols = tuple(wanted or there)
    if baselines is not None:
        config.eval.baselines.kinds = tuple(baselines)
    if baselines and (left_out := set(baselines) - set(config.eval.baseline_kinds)):
        raise UserError(
            f"--baseline={left_out.pop().name.lower()}: found eval.exclude_seen=true, "
            "expected false: it recommends what users have seen"
        )
    return config.validate()
