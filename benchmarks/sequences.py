"""How many train rows a second a causal encoder takes in each form of the dataset.

    python -m benchmarks.sequences --config=configs/movielens.py:loo_causal --dataset=DATASET

DATASET has the form `sequence`. The same rows are given to the same training step twice: as
sequences, whose rows share one pass over their history, and as rows with a history each, taken at
random as the form `row` shuffles them. Steps of both take turns; the figure is the ratio of the
medians of rows a second. Reading and looking up is left out: it takes place beside the steps.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from configs.cli import console, define_config, run_app
from configs.errors import UserError
from configs.schema import Config, Form
from preprocessing.columns import END_SUFFIX
from preprocessing.features import FeatureSpec
from trainer.candidates import candidates_of, sampling_of
from trainer.dataset import open_dataset
from trainer.model import TwoTower
from trainer.optimizers import Optimizer
from trainer.records import PAD_ITEM, SEQUENCE_ROWS, Rows, parse_sequences

_TURNS = 7
Batch = Mapping[str, tf.Tensor]


def as_rows(block: Rows, spec: FeatureSpec) -> Rows:
    """The rows of a block of sequences, each with a history of its own."""
    length = spec.sequence[1].max_length
    rows = block[SEQUENCE_ROWS].numpy()
    sequence = np.repeat(np.arange(len(rows)), rows)
    found = {n: v for n, v in block.items() if n != SEQUENCE_ROWS}
    for name, pad in zip(spec.history_columns, (PAD_ITEM, 0), strict=True):
        values = np.full((len(sequence), length), pad)
        known = np.arange(length) < found.pop(name + END_SUFFIX).numpy()[:, None]
        padded = np.full((len(rows), length), pad)
        padded[:, : block[name].shape[1]] = block[name]
        values[known] = padded[sequence][known]
        found[name] = tf.constant(values)
    return found


def measure(config: Config, dataset_dir: str) -> dict[str, Any]:
    """Rows a second of both forms, and their ratio."""
    dataset = open_dataset(dataset_dir, config)
    if dataset.spec.data.form is not Form.SEQUENCE:
        raise UserError(f"--dataset={dataset_dir}: found the form row, expected sequence")
    model = TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)
    optimizer = Optimizer(
        config.train,
        tables=model.embedding_tables,
        dense=model.dense_weights,
        total_steps=10_000,
    )
    sampling = sampling_of(config, dataset.spec, dataset.catalog)

    def finished(rows: Rows, number: int) -> Batch:
        draw = tf.constant([1, number], tf.int64)
        found = candidates_of(rows, dataset.spec.history_item_column, sampling, draw)
        return {**model.look_up(rows), **found}

    files = [str(Path(dataset.root) / f.name) for f in dataset.manifest.part("train")]
    records = tf.data.TFRecordDataset(files).shuffle(4_096, seed=1)
    batches: dict[str, list[Batch]] = {"sequence": [], "row": []}
    draw = np.random.default_rng(1)
    for number, some in enumerate(records.batch(config.train.batch_size).take(2)):
        block = parse_sequences(some, dataset.spec.train_columns)
        batches["sequence"].append(finished(block, number))
        rows = as_rows(block, dataset.spec)
        count = len(next(iter(rows.values())))
        order = draw.permutation(count)[: max(count // 4, 1)]
        rows = {name: tf.gather(value, order) for name, value in rows.items()}
        batches["row"].append(finished(rows, number))

    @tf.function(reduce_retracing=True)
    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        return optimizer.minimize(loss, tape)

    seconds: dict[str, list[float]] = {form: [] for form in batches}
    for turn in range(-2, _TURNS):  # the first two trace and warm up
        for form, some in batches.items():
            batch = some[turn % len(some)]
            begin = time.perf_counter()
            step(batch).numpy()
            if turn >= 0:
                rows_taken = len(batch["weight"])
                seconds[form].append((time.perf_counter() - begin) / rows_taken)
    rate = {form: 1 / statistics.median(each) for form, each in seconds.items()}
    return {
        "rows a second": {form: round(each) for form, each in rate.items()},
        "rows in a batch": {
            form: int(np.mean([len(b["weight"]) for b in some])) for form, some in batches.items()
        },
        "sequence over row": round(rate["sequence"] / rate["row"], 2),
    }


if __name__ == "__main__":
    _DATASET = flags.DEFINE_string("dataset", None, "Of the form `sequence`.", required=True)
    _CONFIG = define_config()

    def main(argv: list[str]) -> dict[str, Any]:
        """Measures."""
        del argv
        found = measure(_CONFIG(), _DATASET.value)
        console().print(found)
        return found

    run_app(main)
