"""Packed records to rows, as the trainer reads them; `preprocessing.records` writes them."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from preprocessing.columns import END_SUFFIX, LENGTH_SUFFIX, TIMESTAMP, Column, DType

_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}

PAD_ITEM = -1
"""Fills histories in batches; the unknown item, 0, is a real entry."""

SEQUENCE_ROWS = "sequence_rows"
"""Where raw columns are of sequences: rows of each, one after the other, int64 [S]."""

Rows = dict[str, tf.Tensor]


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
