"""Packed records to batches, with tf.data: shuffling, look-ups, negatives, in whole batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from configs.schema import Config
from preprocessing.features import LENGTH_SUFFIX, TIMESTAMP, USER_ID, Column, DType, FeatureSpec
from preprocessing.manifest import Manifest
from trainer.catalog import Catalog

_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}

PAD_ITEM = -1
"""Fills histories in batches; the unknown item, 0, is a real entry."""

Rows = dict[str, tf.Tensor]
LookUp = Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What the loss must know of how a batch's negatives came about.

    Attributes:
        train_count: int64 [items + 1], train rows by positive item.
        num_known: uniform negatives are drawn from ids 1..num_known.
        uniform: how many of them in a batch.
        by_day: whether an item's features differ by day, so that a candidate is (item, day).
    """

    train_count: np.ndarray
    num_known: int
    uniform: int
    by_day: bool


def sampling_of(config: Config, spec: FeatureSpec, catalog: Catalog) -> Sampling:
    """The sampling that a config asks for."""
    return Sampling(
        train_count=catalog.train_count,
        num_known=catalog.num_known,
        uniform=config.loss.uniform_negatives,
        by_day=spec.has_daily_items,
    )


def train_batches(
    root: Path,
    manifest: Manifest,
    spec: FeatureSpec,
    *,
    config: Config,
    sampling: Sampling,
    look_up: LookUp,
    epoch: int,
    skip_batches: int = 0,
) -> tf.data.Dataset:
    """One pass over the train rows, in an order that (seed, epoch) fixes.

    Records are shuffled, then the rows of `shuffle_records` of them at a time. The last rows that
    do not fill a batch are left out of this epoch: another order leaves out others.

    Args:
        root: the dataset's directory.
        manifest: its manifest.
        spec: of its features.
        config: batch size, shuffling and seed.
        sampling: of negatives.
        look_up: raw user columns to model inputs.
        epoch: number of the pass, from 0.
        skip_batches: leave out so many from the start, to resume within an epoch.

    Returns:
        Batches as `trainer.model.TwoTower.loss` takes them.
    """
    seed = config.train.seed * 1_000_003 + epoch
    columns = spec.train_columns
    files = [str(root / f.name) for f in manifest.part("train")]
    order = np.random.default_rng(seed).permutation(len(files))
    records = tf.data.TFRecordDataset([files[i] for i in order], num_parallel_reads=2)
    pool = config.train.shuffle_records
    records = records.shuffle(pool * 4, seed=seed).batch(pool)

    def shuffled(serialized: tf.Tensor, index: tf.Tensor) -> Rows:
        rows = parse_block(serialized, columns)
        count = tf.shape(rows[TIMESTAMP])[0]
        key = tf.random.stateless_uniform(
            [count], seed=tf.stack([tf.constant(seed, tf.int64), index])
        )
        permutation = tf.argsort(key)
        return {name: tf.gather(each, permutation) for name, each in rows.items()}

    index = tf.data.Dataset.counter()
    rows = tf.data.Dataset.zip(records, index).map(shuffled, num_parallel_calls=2)
    rows = rows.rebatch(config.train.batch_size, drop_remainder=True).skip(skip_batches)

    def finish(batch: Rows, index: tf.Tensor) -> dict[str, tf.Tensor]:
        draw = tf.stack([tf.constant(seed + 7, tf.int64), index + skip_batches])
        return {**look_up(batch), **_candidates(batch, spec, sampling, draw)}

    return tf.data.Dataset.zip(rows, index).map(finish, num_parallel_calls=2).prefetch(4)


def flat_features(columns: Sequence[Column]) -> dict[str, tf.io.RaggedFeature]:
    """What `tf.io.parse_example` takes for packed records: all values, and lengths of lists."""
    features: dict[str, tf.io.RaggedFeature] = {}
    for column in columns:
        features[column.name] = tf.io.RaggedFeature(_TF_DTYPE[column.dtype])
        if column.is_ragged:
            features[column.name + LENGTH_SUFFIX] = tf.io.RaggedFeature(tf.int64)
    return features


def parse_block(serialized: tf.Tensor, columns: Sequence[Column]) -> Rows:
    """Several packed records as one block of dense rows."""
    parsed = tf.io.parse_example(serialized, flat_features(columns))
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


def _candidates(
    batch: Rows, spec: FeatureSpec, sampling: Sampling, draw: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Distinct items and candidates of a batch, what each row may not see, and sampling counts.

    A candidate is a distinct item, or a distinct (item, day) where item features differ by day.
    A row's masked candidates are all copies of the items of its user's rows in this batch: its own
    positive and what else the user liked.
    """
    positive, day, history = batch["item"], batch["day"], batch[spec.history_item_column]
    rows = tf.shape(positive, tf.int64)[0]
    seeds = tf.unstack(tf.random.split(tf.cast(draw, tf.int32), 2))
    uniform = tf.random.stateless_uniform(
        [sampling.uniform], seeds[0], 1, sampling.num_known + 1, tf.int64
    )
    day_row = tf.random.stateless_uniform([sampling.uniform], seeds[1], 0, rows, tf.int64)
    drawn_item = tf.concat([positive, uniform], 0)
    drawn_day = tf.concat([day, tf.gather(day, day_row)], 0)
    if not sampling.by_day:
        drawn_day = tf.zeros_like(drawn_day)

    key, candidate_of, count = tf.unique_with_counts(drawn_item * (1 << 20) + drawn_day, tf.int64)
    candidate_item, candidate_day = key // (1 << 20), key % (1 << 20)

    flat_history = tf.reshape(history, [-1])
    distinct, index = tf.unique(tf.concat([candidate_item, flat_history], 0), tf.int64)
    num_candidates = tf.shape(key, tf.int64)[0]
    candidate_index, history_index = index[:num_candidates], index[num_candidates:]

    user = tf.strings.to_hash_bucket_fast(batch[USER_ID], 1 << 62)
    _, user_index, rows_of_user = tf.unique_with_counts(user, tf.int64)
    by_user = tf.argsort(user_index, stable=True)
    rows_by_user = tf.RaggedTensor.from_row_lengths(
        tf.cast(by_user, tf.int64), rows_of_user, validate=False
    )
    others = tf.gather(rows_by_user, user_index)  # [B, rows of the row's user]
    row, other = others.value_rowids(), others.flat_values
    # From the items of those rows to every candidate of the same item.
    by_item = tf.argsort(candidate_index, stable=True)
    candidates_of_item = tf.RaggedTensor.from_value_rowids(
        tf.cast(by_item, tf.int64),
        tf.gather(candidate_index, by_item),
        nrows=tf.shape(distinct, tf.int64)[0],
        validate=False,
    )
    item_of_row = tf.gather(candidate_index, candidate_of[:rows])
    masked = tf.gather(candidates_of_item, tf.gather(item_of_row, other))
    masked_row = tf.gather(row, masked.value_rowids())
    train_count = tf.constant(sampling.train_count, tf.float32)
    return {
        "distinct_item": distinct,
        "history_index": tf.reshape(history_index, tf.shape(history)),
        "history_mask": history >= 0,
        "candidate_index": candidate_index,
        "candidate_item": candidate_item,
        "candidate_day": candidate_day,
        "candidate_copies": tf.cast(count, tf.float32),
        "candidate_share": tf.gather(train_count, candidate_item) / tf.reduce_sum(train_count),
        "positive_index": candidate_of[:rows],
        "masked": tf.stack([masked_row, masked.flat_values], 1),
        "rows_of_user": tf.cast(tf.gather(rows_of_user, user_index), tf.float32),
        "weight": batch["weight"],
    }
