"""The story of a training run, top to bottom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from configs.errors import UserError
from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.manifest import Verify
from trainer.checkpoints import Checkpoints, Warn, newest_readable, read_weights
from trainer.dataset import Dataset, open_dataset
from trainer.input import examples_in
from trainer.interruption import Interruption
from trainer.lists import load_lists
from trainer.loop import run_steps
from trainer.model import TwoTower
from trainer.optimizers import Optimizer
from trainer.recommenders import Towers
from trainer.replicas import is_chief, make_strategy, require_whole_shares
from trainer.results import evaluate_and_write
from trainer.step import TrainStep
from trainer.tensorboard import close_board, open_board
from trainer.validations import Validations
from trainer.warm_start import init_from
from trainer.watch import DivergedError
from trainer.workdir import TENSORBOARD, claim, mark_failed, require_own, told_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        steps: optimisation steps in all, those before a resume included.
        loss: mean over the last logged steps; None where nothing was left to train.
        metrics: of the final evaluation.
    """

    steps: int
    loss: float | None
    metrics: dict[str, Any]


def train_and_evaluate(
    config: Config,
    dataset_dir: str | Path,
    workdir: str | Path,
    *,
    console: Console,
    verify: Verify = Verify.FULL,
    compare_lists: str | Path | None = None,
    initial_run: str | Path | None = None,
) -> Result:
    """Trains a model on a dataset and measures it on the full catalog.

    Run again with the same arguments it resumes from the newest readable checkpoint; when training
    is over it only evaluates.

    Args:
        config: the run; validated.
        dataset_dir: what `preprocessing.run` wrote.
        workdir: checkpoints, TensorBoard logs, `run.json`, `metrics.json` and `report.html` go
            here.
        console: for progress and tables.
        verify: how much of the dataset is checked before training.
        compare_lists: Parquet file of ranked lists to measure beside the model by `window`.
        initial_run: workdir of an earlier run whose weights this one starts from; the dataset must
            be made with `--previous` of that run's.

    Raises:
        UserError: the dataset is not one, is damaged, was made for other features, or holds too few
            rows; the workdir belongs to another run; a checkpoint cannot be written; training
            diverged.
        Interrupted: SIGTERM came; what was trained is saved.
    """
    with Interruption() as interruption:
        # 1. The dataset, checked against the config and against its manifest.
        dataset = open_dataset(dataset_dir, config)
        if verify is Verify.FULL:
            _verify(dataset, console)
        examples = examples_in(dataset)
        others = {}
        if compare_lists is not None:
            path = Path(compare_lists)
            others[path.stem] = load_lists(path, dataset.catalog)
        steps_per_epoch = examples // config.train.batch_size
        if steps_per_epoch == 0:
            raise UserError(
                f"config.train.batch_size: found {config.train.batch_size}, expected at most the "
                f"dataset's {examples} train {dataset.spec.data.form.value}s"
            )
        total_steps = steps_per_epoch * config.train.epochs

        # 2. The workdir, of one config and one dataset. Of several workers the first writes.
        strategy = make_strategy(config.train.distribution)
        require_whole_shares(strategy, config.train.batch_size)
        chief = is_chief(strategy)
        work = Path(workdir)
        if chief:
            require_own(work, config, dataset)

        # 3. Model and optimiser, a copy on every device.
        with strategy.scope():
            model = TwoTower(
                config, dataset.spec, dataset.catalog, dataset.assets,
                precision=config.train.precision,
            )  # fmt: skip
            optimizer = Optimizer(
                config.train,
                tables=model.embedding_tables,
                dense=model.dense_weights,
                total_steps=total_steps,
            )
        console.print(_describe(dataset, model, steps_per_epoch, config.train.epochs))

        # 4. Resume: weights, accumulators and step; the step says where in which epoch to go on.
        checkpoints = Checkpoints(
            work,
            tf.train.Checkpoint(model=model, optimizer=optimizer),
            keep=config.train.keep_checkpoints,
            writes=chief,
        )
        resumed = checkpoints.restore_newest(warn=_warning(console))
        if resumed is not None:
            console.print(f"resumed from {checkpoints.last_good}")
        elif initial_run is not None:
            step = init_from(Path(initial_run), config, dataset, model)
            told = told_step(Path(initial_run), step)
            console.print(f"starting at step 0 from {initial_run} as of its {told}")
        else:
            console.print(f"no checkpoint in {checkpoints.directory}: starting at step 0")
        if chief:  # only now: what is refused before leaves the directory as it was
            claim(work, config, dataset, total_steps=total_steps)

        validations = Validations(work, config, total_steps=total_steps)
        validations.start_from(int(optimizer.step.numpy()), write=chief)

        # 5. The steps.
        writer = (
            open_board(work / TENSORBOARD, config) if chief else tf.summary.create_noop_writer()
        )
        take_steps = TrainStep(model, optimizer, strategy)
        try:
            loss = run_steps(
                config, dataset, take_steps, checkpoints, interruption,
                validations=validations, steps_per_epoch=steps_per_epoch, writer=writer,
                console=console,
            )  # fmt: skip
        except DivergedError as error:
            if chief:
                mark_failed(work, error)
            raise
        except tf.errors.DataLossError as error:  # TensorFlow does not say in which file
            manifests.verify_hashes(dataset.root, dataset.manifest)
            raise UserError(f"--dataset={dataset.root}: {error.message}") from error

        if not chief:
            return Result(steps=int(optimizer.step.numpy()), loss=loss, metrics={"protocols": {}})

        # 6. The weights that validation likes best, on the full catalog, beside the baselines.
        last = step = int(optimizer.step.numpy())
        if validations.chosen not in (None, last):
            step = _take_chosen(model, checkpoints, validations, last=last, console=console)
        writer.flush()  # the report shows the curves
        metrics = evaluate_and_write(
            config, dataset, Towers(model, dataset, split="test"),
            source=f"{work.resolve().name}, {told_step(work, step)}", split="test", output=work,
            console=console, others=others, training_logs=work / TENSORBOARD,
        )  # fmt: skip
        close_board(writer, work / TENSORBOARD, dataset, model, metrics, step=last)
        return Result(steps=last, loss=loss, metrics=metrics)


def _warning(console: Console) -> Warn:
    return lambda text: console.print(Text.assemble(("warning:", "bold red"), " ", text))


def _take_chosen(
    model: TwoTower,
    checkpoints: Checkpoints,
    validations: Validations,
    *,
    last: int,
    console: Console,
) -> int:
    """Gives the model the weights that validation chose, in a line; their step."""
    step = newest_readable(checkpoints.directory, first=validations.chosen, warn=_warning(console))
    assert step is not None, "the last one was just written or read"
    if step != last:
        read_weights(checkpoints.directory, step, model)
        console.print(
            f"the weights of step {step} are kept, the best by validation's {validations.by}"
        )
    return step


def _verify(dataset: Dataset, console: Console) -> None:
    """Every byte of the dataset against its manifest, with a bar."""
    total = sum(file.size for file in dataset.manifest.files)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("verify", total=total)
        manifests.verify_hashes(
            dataset.root, dataset.manifest, advance=lambda size: bar.advance(task, size)
        )


def _describe(dataset: Dataset, model: TwoTower, steps_per_epoch: int, epochs: int) -> str:
    tables = sum(int(np.prod(t.shape)) for t in model.embedding_tables)
    dense = sum(int(np.prod(v.shape)) for v in model.dense_weights)
    return (
        f"{dataset.manifest.rows('train'):,} train rows, {dataset.catalog.num_known:,} items; "
        f"{tables:,} embedding and {dense:,} dense weights; {epochs} epochs of "
        f"{steps_per_epoch:,} steps"
    )
