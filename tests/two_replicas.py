"""Trains some steps on one device and on two, and writes what became of each weight.

In a process of its own, since devices are divided before TensorFlow first uses them:

    python -m tests.two_replicas OUTPUT.npz
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from configs.schema import Distribution, Duplicates, Loss
from tests.tiny_run import tiny_config, tiny_dataset

STEPS = 3
# All that the batch is one in: expected counts, masks, what is in it twice, and the memory.
LOSS = Loss(uniform_negatives=9, memory_size=100, duplicates=Duplicates.REMOVED, mask_history=True)


def main(output: str) -> None:
    """One device, then two."""
    import tensorflow as tf

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    from tests.fresh_model import batches_of, new_model, new_optimizer
    from trainer.dataset import open_dataset
    from trainer.replicas import make_strategy
    from trainer.step import TrainStep

    found = {}
    config = tiny_config()
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(tiny_dataset(Path(folder), config), config)
        # Draws of a replica are its own; the clip would hide a gradient of the wrong size.
        config.model.dropout = config.train.history_dropout = 0.0
        config.train.clip_norm, config.train.warmup_fraction = 1e9, 0.0
        config.loss = LOSS
        for distribution in (Distribution.NONE, Distribution.MIRRORED):
            strategy = make_strategy(distribution)
            with strategy.scope():
                model = new_model(config, dataset)
                optimizer = new_optimizer(config, model, total_steps=STEPS)
            take = TrainStep(model, optimizer, strategy)
            batches = iter(batches_of(config, dataset, model))
            each = [take(batches, 1) for _ in range(STEPS)]
            key = strategy.num_replicas_in_sync
            found[f"{key}/loss"] = np.concatenate([loss for loss, _ in each])
            found[f"{key}/norm"] = np.concatenate([norm for _, norm in each])
            # A moment after the first steps is a mean of gradients, by variable.
            for number, moment in enumerate(optimizer.adamw.first):
                found[f"{key}/gradient of {number}"] = moment.numpy()
            for number, variable in enumerate((*model.embedding_tables, *model.dense_weights)):
                found[f"{key}/weight {number}"] = variable.numpy()
    np.savez(output, **found)


if __name__ == "__main__":
    main(sys.argv[1])
