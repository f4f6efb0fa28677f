"""Train rows to batches, with tf.data: shuffling, look-ups, candidates, in whole batches."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from configs.schema import Config, Form
from preprocessing.columns import ITEM, TIMESTAMP
from trainer.batch_order import order_of_rows
from trainer.candidates import Sampling, candidates_of
from trainer.dataset import Dataset
from trainer.records import Rows, parse_block, parse_sequences
from trainer.session_starts import with_session_starts

LookUp = Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]
Targets = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def train_batches(
    dataset: Dataset,
    *,
    config: Config,
    sampling: Sampling,
    look_up: LookUp,
    targets: Targets | None = None,
    epoch: int,
    skip_batches: int = 0,
) -> tf.data.Dataset:
    """One pass over the train rows, in an order that (seed, epoch) fixes.

    Records are shuffled, then the rows of about `shuffle_records` of them at a time
    (`trainer.batch_order`). The last rows that do not fill a batch are left out of this epoch:
    another order leaves out others. In the sequence form records are sequences, and batches are of
    whole ones.

    Args:
        dataset: whose train rows.
        config: batch size, shuffling and seed.
        sampling: of negatives.
        look_up: raw user columns to model inputs.
        targets: draws what each row is to predict; None: its own label.
        epoch: number of the pass, from 0.
        skip_batches: leave out so many from the start, to resume within an epoch.

    Returns:
        Batches as `trainer.model.TwoTower.compute_loss` takes them.
    """
    spec, manifest = dataset.spec, dataset.manifest
    seed = config.train.seed * 1_000_003 + epoch
    columns = spec.training_columns
    files = [str(dataset.root / f.name) for f in manifest.part("train")]
    order = np.random.default_rng(seed).permutation(len(files))
    records = tf.data.TFRecordDataset([files[i] for i in order], num_parallel_reads=2)
    pool = config.train.shuffle_records
    records = records.shuffle(pool * 4, seed=seed)
    batch_size = config.train.batch_size

    def shuffled(rows: Rows, index: tf.Tensor) -> Rows:
        order = order_of_rows(
            rows[TIMESTAMP],
            seed=tf.stack([tf.constant(seed, tf.int64), index]),
            batch_size=batch_size,
            batch_days=config.train.batch_days,
        )
        return {name: tf.gather(each, order) for name, each in rows.items()}

    index = tf.data.Dataset.counter()
    if spec.data.form is Form.SEQUENCE:
        rows = records.batch(batch_size, drop_remainder=True).skip(skip_batches)
        rows = rows.map(lambda each: parse_sequences(each, columns), num_parallel_calls=2)
    else:
        blocks = records.batch(pool).map(lambda each: parse_block(each, columns), 2)
        # Pools of whole batches: a batch of two pools would be of two times.
        pool_rows = pool * manifest.rows("train") // manifest.records("train")
        pools = blocks.rebatch(max(pool_rows // batch_size, 1) * batch_size)
        rows = tf.data.Dataset.zip(pools, index).map(shuffled, num_parallel_calls=2)
        rows = rows.rebatch(batch_size, drop_remainder=True).skip(skip_batches)

    def finish(batch: Rows, index: tf.Tensor) -> dict[str, tf.Tensor]:
        draw = tf.stack([tf.constant(seed + 7, tf.int64), index + skip_batches])
        if targets is not None:
            own_draw = tf.stack([tf.constant(seed + 11, tf.int64), index + skip_batches])
            batch = batch | {ITEM: targets(batch, own_draw)}
        if config.train.session_start_share:
            share = config.train.session_start_share
            batch = batch | {"weight": with_session_starts(batch, spec, share)}
        found = candidates_of(batch, spec.history_item_column, sampling, draw)
        return {**look_up(batch), **found}

    batches = tf.data.Dataset.zip(rows, index).map(finish, num_parallel_calls=2).prefetch(4)
    return batches.with_options(fixed_parallelism())


def fixed_parallelism() -> tf.data.Options:
    """For pipelines that say it: to tune it TensorFlow adds up the sizes of all strings."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def examples_in(dataset: Dataset) -> int:
    """What `train.batch_size` counts: train rows, or sequences where records are sequences."""
    is_sequences = dataset.spec.data.form is Form.SEQUENCE
    return dataset.manifest.records("train") if is_sequences else dataset.manifest.rows("train")
