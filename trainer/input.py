"""Packed records to batches, with tf.data: shuffling, look-ups, candidates, in whole batches."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from configs.schema import Config, Form
from preprocessing.features import (
    END_SUFFIX,
    ITEM,
    LENGTH_SUFFIX,
    TIMESTAMP,
    Column,
    DType,
    FeatureSpec,
)
from preprocessing.manifest import Manifest
from trainer.batch_order import order_of_rows
from trainer.candidates import Sampling, candidates_of
from trainer.history_encoder import SEQUENCE_ROWS
from trainer.session_starts import with_session_starts

_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}

PAD_ITEM = -1
"""Fills histories in batches; the unknown item, 0, is a real entry."""

Rows = dict[str, tf.Tensor]
LookUp = Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]
Targets = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def parse_packed(record: tf.Tensor, columns: Sequence[Column]) -> dict[str, tf.Tensor]:
    """Decodes one packed record.

    Args:
        record: string [], a serialized tf.train.Example of N rows (docs/dataset.md).
        columns: those to read.

    Returns:
        By name: [N], [N, length] for vectors, a ragged [N, None] for lists.
    """
    features: dict[str, object] = {}
    for column in columns:
        dtype = _TF_DTYPE[column.dtype]
        if column.is_ragged:
            features[column.name] = tf.io.RaggedFeature(
                dtype,
                value_key=column.name,
                partitions=[tf.io.RaggedFeature.RowLengths(column.name + LENGTH_SUFFIX)],
                row_splits_dtype=tf.int64,
            )
        else:
            shape = [] if column.length is None else [column.length]
            features[column.name] = tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)
    return tf.io.parse_single_example(record, features)


def to_dense(rows: Mapping[str, tf.Tensor], columns: Sequence[Column]) -> Rows:
    """Pads bounded lists to [N, max_length]: '' for strings, 0 for numbers, -1 for item ids."""
    dense = dict(rows)
    for column in columns:
        if column.max_length is not None:
            pad = PAD_ITEM if column.name.endswith("_item") else None
            dense[column.name] = rows[column.name].to_tensor(
                default_value=pad, shape=[None, column.max_length]
            )
    return dense


def train_batches(
    root: Path,
    manifest: Manifest,
    spec: FeatureSpec,
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
        root: the dataset's directory.
        manifest: its manifest.
        spec: of its features.
        config: batch size, shuffling and seed.
        sampling: of negatives.
        look_up: raw user columns to model inputs.
        targets: draws what each row is to predict; None: its own label.
        epoch: number of the pass, from 0.
        skip_batches: leave out so many from the start, to resume within an epoch.

    Returns:
        Batches as `trainer.model.TwoTower.loss` takes them.
    """
    seed = config.train.seed * 1_000_003 + epoch
    columns = spec.training_columns
    files = [str(root / f.name) for f in manifest.part("train")]
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
        history = batch[spec.history_item_column]
        return {**look_up(batch), **candidates_of(batch, history, sampling, draw)}

    batches = tf.data.Dataset.zip(rows, index).map(finish, num_parallel_calls=2).prefetch(4)
    return batches.with_options(fixed_parallelism())


def fixed_parallelism() -> tf.data.Options:
    """For pipelines that say it: to tune it TensorFlow adds up the sizes of all strings."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def examples_in(manifest: Manifest, spec: FeatureSpec) -> int:
    """What `train.batch_size` counts: train rows, or sequences where records are sequences."""
    is_sequences = spec.data.form is Form.SEQUENCE
    return manifest.records("train") if is_sequences else manifest.rows("train")


def flat_features(columns: Sequence[Column]) -> dict[str, tf.io.RaggedFeature]:
    """What `tf.io.parse_example` takes for packed records: all values, and lengths of lists."""
    features: dict[str, tf.io.RaggedFeature] = {}
    for column in columns:
        features[column.name] = tf.io.RaggedFeature(_TF_DTYPE[column.dtype])
        if column.is_prefix:
            features[column.name + END_SUFFIX] = tf.io.RaggedFeature(tf.int64)
        elif column.is_ragged:
            features[column.name + LENGTH_SUFFIX] = tf.io.RaggedFeature(tf.int64)
    return features


def parse_block(serialized: tf.Tensor, columns: Sequence[Column]) -> Rows:
    """Several packed records as one block of dense rows."""
    return _rows_of(tf.io.parse_example(serialized, flat_features(columns)), columns)


def parse_sequences(serialized: tf.Tensor, columns: Sequence[Column]) -> Rows:
    """Several sequences as one block.

    Args:
        serialized: string [S], a record each.
        columns: those of the train split.

    Returns:
        `SEQUENCE_ROWS` int64 [S]; of each history `c` [S, L], as long as the longest and padded at
        its end, and `c#end` int64 [B]; all other columns by row, [B, ...].
    """
    parsed = tf.io.parse_example(serialized, flat_features(columns))
    block = _rows_of(parsed, [c for c in columns if not c.is_prefix])
    for column in columns:
        if column.is_prefix:
            pad = PAD_ITEM if column.name.endswith("_item") else None
            block[column.name] = parsed[column.name].to_tensor(default_value=pad)
            block[column.name + END_SUFFIX] = parsed[column.name + END_SUFFIX].flat_values
    block[SEQUENCE_ROWS] = tf.cast(parsed[TIMESTAMP].row_lengths(), tf.int64)
    return block


def _rows_of(parsed: Mapping[str, tf.RaggedTensor], columns: Sequence[Column]) -> Rows:
    rows: Rows = {}
    for column in columns:
        flat = parsed[column.name].flat_values
        if column.is_ragged:
            lengths = parsed[column.name + LENGTH_SUFFIX].flat_values
            flat = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
        elif column.length is not None:
            flat = tf.reshape(flat, [-1, column.length])
        rows[column.name] = flat
    return to_dense(rows, columns)
