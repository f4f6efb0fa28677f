"""A model before its first step, what moves it, and the batches that it would be trained on."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from configs.schema import Config
from trainer.candidates import sampling_of
from trainer.dataset import Dataset, load_user_counts
from trainer.input import train_batches
from trainer.model import TwoTower
from trainer.optimizers import Optimizer
from trainer.records import Rows


def new_model(config: Config, dataset: Dataset) -> TwoTower:
    return TwoTower(
        config, dataset.spec, dataset.catalog, dataset.assets, precision=config.train.precision
    )


def new_optimizer(config: Config, model: TwoTower, *, total_steps: int = 10) -> Optimizer:
    return Optimizer(
        config.train,
        tables=model.embedding_tables,
        dense=model.dense_weights,
        total_steps=total_steps,
    )


def batches_of(
    config: Config, dataset: Dataset, model: TwoTower, *, epoch: int = 0, skip_batches: int = 0
) -> tf.data.Dataset:
    """An epoch whose rows have their own labels and whose shares are those of all train rows."""
    counts = load_user_counts(dataset) if config.loss.symmetric else None
    return train_batches(
        dataset,
        config=config,
        sampling=sampling_of(config, dataset.spec, dataset.catalog, user_count=counts),
        look_up=model.look_up,
        epoch=epoch,
        skip_batches=skip_batches,
    )


def names_of_unmoved(config: Config, model: TwoTower, batches: Iterable[Rows]) -> list[str]:
    """Weights that steps on these batches leave as they are."""
    optimizer = new_optimizer(config, model)
    before = [variable.numpy() for variable in model.trainable_variables]
    for batch in batches:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True, use_memory=True)
        assert np.isfinite(optimizer.minimize(loss, tape)) and loss > 0
    return [
        variable.name
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(variable.numpy(), old)
    ]
