"""The steps of a run, epoch by epoch: what is logged, saved and validated on the way."""

from typing import Any

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

from configs.errors import Interrupted
from configs.evaluation import HEADLINE
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY
from trainer.candidates import sampling_of
from trainer.checkpoints import Checkpoints
from trainer.dataset import Dataset, load_user_counts
from trainer.evaluation import MODEL, evaluate
from trainer.input import train_batches
from trainer.interruption import Interruption
from trainer.model import TwoTower
from trainer.recommenders import Towers
from trainer.step import TrainStep
from trainer.targets import NextTargets, shares_of
from trainer.tensorboard import log_monitors
from trainer.validations import Validations
from trainer.watch import Watch, mean_cosine


def run_steps(
    config: Config,
    dataset: Dataset,
    take_steps: TrainStep,
    checkpoints: Checkpoints,
    interruption: Interruption,
    *,
    validations: Validations,
    steps_per_epoch: int,
    writer: Any,
    console: Console,
) -> float | None:
    """Trains from the optimiser's step to the last.

    Args:
        config: the run.
        dataset: its rows.
        take_steps: of the model and the optimiser.
        checkpoints: where they are saved, after so many steps and after each epoch.
        interruption: what asks for an end once a step is done.
        validations: of the run so far; takes those of its epochs.
        steps_per_epoch: batches of an epoch.
        writer: of TensorBoard's summaries.
        console: for progress.

    Returns:
        The mean loss of the last logged steps; None where no step was left.

    Raises:
        DivergedError: a loss that is no number, or items that all look alike.
        Interrupted: SIGTERM came; what was trained is saved.
    """
    train, model, optimizer = config.train, take_steps.model, take_steps.optimizer
    targets = NextTargets(dataset, train.target_window) if train.target_window > 1 else None
    sampling = sampling_of(
        config, dataset.spec, dataset.catalog,
        shares=shares_of(config, dataset, targets),
        user_count=load_user_counts(dataset) if config.loss.symmetric else None,
    )  # fmt: skip
    total_steps = steps_per_epoch * train.epochs
    step = int(optimizer.step.numpy())
    train_end = dataset.manifest.splits.validation_time // SECONDS_PER_DAY
    watch = Watch(max_item_cosine=train.max_item_cosine, warmup_steps=optimizer.warmup_steps)

    # Calls of several steps end where there is something to do.
    stops = (train.log_every_steps, train.checkpoint_every_steps, steps_per_epoch)
    mean_loss = None

    def validate(step: int) -> None:
        every = train.validate_every_epochs
        if every and (step // steps_per_epoch % every == 0 or step == total_steps):
            measured = _validate(config, dataset, model, step, console)
            if checkpoints.newest == step:
                validations.add(step, measured, write=checkpoints.writes)

    with _progress(console) as bar, writer.as_default():
        task = bar.add_task("train", total=total_steps, completed=step, loss="")
        if step and step % steps_per_epoch == 0 and step not in validations:
            validate(step)  # the run was cut between the checkpoint and this
        while step < total_steps and not validations.exhausted:
            epoch, skip = divmod(step, steps_per_epoch)
            batches = iter(
                train_batches(
                    dataset, config=config, sampling=sampling, look_up=model.look_up,
                    targets=targets, epoch=epoch, skip_batches=skip,
                )
            )  # fmt: skip
            end = step - skip + steps_per_epoch
            with interruption.deferred():
                while step < end:
                    count = min(
                        train.steps_per_execution,
                        *(every - step % every for every in stops),
                    )
                    losses, norms = take_steps(batches, count)
                    watch.add(step + 1, losses, norms)
                    step += count
                    bar.advance(task, count)
                    is_last = step == total_steps
                    if step % train.log_every_steps == 0 or is_last:
                        watch.require_finite(last_good=checkpoints.last_good)
                        mean_loss = watch.take_mean_loss()
                        cosine = mean_cosine(model, day=train_end)
                        bar.update(task, loss=f"loss {mean_loss:.4f}")
                        if not console.is_terminal:  # a file has no bar to look at
                            console.print(f"step {step} of {total_steps}  loss {mean_loss:.4f}")
                        tf.summary.scalar("train/loss", mean_loss, step)
                        tf.summary.scalar("train/loss_spikes", watch.take_spikes(), step)
                        tf.summary.scalar("train/gradient_norm", norms[-1], step)
                        tf.summary.scalar("train/learning_rate", optimizer.learning_rate(), step)
                        tf.summary.scalar("train/item_cosine", cosine, step)
                        tf.summary.scalar("train/temperature", model.temperature(), step)
                        log_monitors(model, step, day=train_end)
                        watch.check_cosine(step, cosine, last_good=checkpoints.last_good)
                    due = step % train.checkpoint_every_steps == 0 or step % steps_per_epoch == 0
                    if due or interruption.requested:
                        watch.require_finite(last_good=checkpoints.last_good)
                        if is_last or not watch.suspicious:
                            checkpoints.save(step, best=validations.best)
                    if interruption.requested:
                        raise Interrupted(
                            f"SIGTERM at step {step} of {total_steps}; the same command goes on "
                            f"from {checkpoints.last_good}"
                        )
            validate(step)
    if step < total_steps:
        console.print(
            f"step {step} of {total_steps} is the last: {validations.by} was best after step "
            f"{validations.best} (config.train.patience: {train.patience})"
        )
    return mean_loss


def _validate(
    config: Config, dataset: Dataset, model: TwoTower, step: int, console: Console
) -> dict[str, dict[str, float]]:
    """The model's validation metrics by protocol, in TensorBoard and a line too; none if empty."""
    metrics = evaluate(
        config,
        dataset,
        Towers(model, dataset, split="validation"),
        split="validation",
        with_baselines=False,
        console=console,
    )
    measured = {}
    for protocol, found in metrics["protocols"].items():
        ours = found["models"][MODEL]
        ours = {name: value for name, value in ours.items() if isinstance(value, float)}
        for name, value in ours.items():
            tf.summary.scalar(f"validation/{protocol}/{name}", value, step)
        measured[protocol] = ours
        shown = {n: ours[n] for n in HEADLINE if n in ours}
        told = "  ".join(f"{n} {v:.4f}" for n, v in shown.items())
        console.print(f"step {step}  validation {protocol}  {told}")
    return measured


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
