"""The story of a training run, top to bottom."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from configs.errors import UserError
from configs.schema import Config
from configs.serialization import to_dict
from trainer.dataset import Dataset, open_dataset
from trainer.evaluate import evaluate, print_tables
from trainer.input import sampling_of, train_batches
from trainer.lists import load_lists
from trainer.model import TwoTower
from trainer.optimizers import Optimizer

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        steps: optimisation steps in all, those before a resume included.
        loss: mean over the last logged steps.
        metrics: of the final evaluation.
    """

    steps: int
    loss: float
    metrics: dict[str, Any]


def train_and_evaluate(
    config: Config,
    dataset_dir: str | Path,
    workdir: str | Path,
    *,
    console: Console,
    compare_lists: str | Path | None = None,
) -> Result:
    """Trains a model on a dataset and measures it on the full catalog.

    Run again with the same arguments it resumes from the newest checkpoint; when that is the last
    step it only evaluates.

    Args:
        config: the run; validated.
        dataset_dir: what `preprocessing.run` wrote.
        workdir: checkpoints, TensorBoard logs, `run.json` and `metrics.json` go here.
        console: for progress and tables.
        compare_lists: Parquet file of ranked lists to measure beside the model by `window`.

    Raises:
        UserError: the dataset is not one, was made for other features, or holds too few rows; the
            workdir belongs to another run; the loss is not finite.
    """
    # 1. The dataset, checked against the config.
    dataset = open_dataset(dataset_dir, config)
    rows = dataset.manifest.rows("train")
    others = {}
    if compare_lists is not None:
        path = Path(compare_lists)
        others[path.stem] = load_lists(path, dataset.catalog)
    steps_per_epoch = rows // config.train.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"config.train.batch_size: found {config.train.batch_size}, expected at most the "
            f"dataset's {rows} train rows"
        )
    total_steps = steps_per_epoch * config.train.epochs

    # 2. The workdir, which belongs to one config and one dataset.
    work = Path(workdir)
    _claim(work, config, dataset)

    # 3. Model and optimiser.
    model = TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)
    optimizer = Optimizer(
        config.train,
        tables=model.embedding_tables,
        dense=model.dense_weights,
        total_steps=total_steps,
    )
    console.print(_describe(dataset, model, steps_per_epoch, config.train.epochs))

    # 4. Resume: weights, accumulators and step; the step says where in which epoch to go on.
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(
        checkpoint, str(work / CHECKPOINTS), max_to_keep=config.train.keep_checkpoints
    )
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        console.print(f"resumed from {manager.latest_checkpoint}")

    # 5. The steps.
    writer = tf.summary.create_file_writer(str(work / "tensorboard"))
    loss = _run_steps(
        config, dataset, model, optimizer, manager,
        steps_per_epoch=steps_per_epoch, writer=writer, console=console,
    )  # fmt: skip

    # 6. Evaluation on the full catalog, beside the baselines.
    metrics = evaluate(
        config, dataset, model, split="test", with_baselines=True, console=console, others=others
    )
    print_tables(metrics, console)
    _write_json(work / METRICS_FILE, metrics)
    return Result(steps=int(optimizer.step), loss=loss, metrics=metrics)


def _run_steps(
    config: Config,
    dataset: Dataset,
    model: TwoTower,
    optimizer: Optimizer,
    manager: tf.train.CheckpointManager,
    *,
    steps_per_epoch: int,
    writer: Any,
    console: Console,
) -> float:
    """Trains from the optimiser's step to the last; returns the loss of the last logged steps."""
    train = config.train
    sampling = sampling_of(config, dataset.spec, dataset.catalog)
    total_steps = steps_per_epoch * train.epochs
    step = int(optimizer.step)

    @tf.function(reduce_retracing=True)
    def train_step(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        return loss, optimizer.minimize(loss, tape)

    mean_loss = math.nan
    recent: list[tf.Tensor] = []
    with _progress(console) as bar, writer.as_default():
        task = bar.add_task("train", total=total_steps, completed=step, loss="")
        while step < total_steps:
            epoch, skip = divmod(step, steps_per_epoch)
            batches = train_batches(
                dataset.root, dataset.manifest, dataset.spec,
                config=config, sampling=sampling, look_up=model.look_up,
                epoch=epoch, skip_batches=skip,
            )  # fmt: skip
            for batch in batches:
                loss, norm = train_step(batch)
                recent.append(loss)
                step += 1
                bar.advance(task)
                if step % train.log_every_steps == 0 or step == total_steps:
                    mean_loss = float(np.mean([each.numpy() for each in recent]))
                    recent.clear()
                    _stop_unless_finite(mean_loss, step, manager)
                    bar.update(task, loss=f"loss {mean_loss:.4f}")
                    if not console.is_terminal:  # a file has no bar to look at
                        console.print(f"step {step} of {total_steps}  loss {mean_loss:.4f}")
                    tf.summary.scalar("train/loss", mean_loss, step)
                    tf.summary.scalar("train/gradient_norm", norm, step)
                    rate = optimizer.adamw.learning_rate
                    tf.summary.scalar("train/learning_rate", rate, step)
                    tf.summary.scalar("train/item_cosine", mean_cosine(model), step)
                if step % train.checkpoint_every_steps == 0 or step == total_steps:
                    manager.save(step)
            every = train.validate_every_epochs
            if every and (epoch + 1) % every == 0 and step < total_steps:
                _validate(config, dataset, model, step, console)
    return mean_loss


def _validate(
    config: Config, dataset: Dataset, model: TwoTower, step: int, console: Console
) -> None:
    """One line of validation metrics, in TensorBoard too; nothing where validation is empty."""
    metrics = evaluate(
        config, dataset, model, split="validation", with_baselines=False, console=console
    )
    for protocol, found in metrics["protocols"].items():
        ours = found["models"]["streamrec"]
        for name, value in ours.items():
            if isinstance(value, float):
                tf.summary.scalar(f"validation/{protocol}/{name}", value, step)
        shown = {n: ours[n] for n in ("HR@10", "NDCG@10", "Recall@100") if n in ours}
        told = "  ".join(f"{n} {v:.4f}" for n, v in shown.items())
        console.print(f"step {step}  validation {protocol}  {told}")


def mean_cosine(model: TwoTower, sample: int = 256) -> float:
    """Mean cosine between the vectors of random known items; near 1 the model has collapsed."""
    ids = np.linspace(1, model.num_known, min(sample, model.num_known)).astype(np.int64)
    vectors = model.embed_items(tf.constant(ids), tf.zeros(len(ids), tf.int64)).numpy()
    count = len(vectors)
    if count < 2:
        return 0.0
    return float((np.square(vectors.sum(0)).sum() - count) / (count * (count - 1)))


def _stop_unless_finite(loss: float, step: int, manager: tf.train.CheckpointManager) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"step {step}: found a loss of {loss}, expected a finite one; the last good "
            f"checkpoint is {manager.latest_checkpoint or 'none'}"
        )


def _claim(work: Path, config: Config, dataset: Dataset) -> None:
    """Writes `run.json`, or checks that the one there is this run's."""
    mine = {
        "config": json.loads(json.dumps(to_dict(config))),
        "dataset": str(dataset.root.resolve()),
        "spec_fingerprint": dataset.manifest.spec_fingerprint,
        "assets_fingerprint": dataset.manifest.assets_fingerprint,
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
                raise UserError(
                    f"--workdir={work}: its run has another config.{part}; expected a new "
                    "workdir, or the same config to resume"
                )
    work.mkdir(parents=True, exist_ok=True)
    _write_json(path, mine)


def _write_json(path: Path, body: Mapping[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(body, indent=1, allow_nan=False), encoding="utf-8")
    os.replace(beside, path)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
    )


def _describe(dataset: Dataset, model: TwoTower, steps_per_epoch: int, epochs: int) -> str:
    tables = sum(int(np.prod(t.shape)) for t in model.embedding_tables)
    dense = sum(int(np.prod(v.shape)) for v in model.dense_weights)
    return (
        f"{dataset.manifest.rows('train'):,} train rows, {dataset.catalog.num_known:,} items; "
        f"{tables:,} embedding and {dense:,} dense weights; {epochs} epochs of "
        f"{steps_per_epoch:,} steps"
    )
