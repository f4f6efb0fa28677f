"""TFRecords read back for comparison, whoever wrote them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import tensorflow as tf

from preprocessing.columns import LENGTH_SUFFIX, Column, DType

_LIST = {DType.INT64: "int64_list", DType.FLOAT: "float_list", DType.BYTES: "bytes_list"}
_TYPE = {DType.INT64: pl.Int64, DType.FLOAT: pl.Float32, DType.BYTES: pl.String}


def decode(files: Iterable[Path], columns: Sequence[Column]) -> pl.DataFrame:
    """The rows of packed or one-row Examples, in one order whatever order files have."""
    frames = []
    for file in files:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            frames.append(_rows(tf.train.Example.FromString(record), columns))
    rows = pl.concat(frames)
    return rows.sort("user_id", "timestamp", "item", "label_time")


def _rows(example: tf.train.Example, columns: Sequence[Column]) -> pl.DataFrame:
    features = example.features.feature
    found = {}
    for column in columns:
        flat = list(getattr(features[column.name], _LIST[column.dtype]).value)
        of_type: pl.DataType | type[pl.DataType] = _TYPE[column.dtype]
        if column.dtype is DType.BYTES:
            flat = [each.decode() for each in flat]
        if column.is_ragged:
            name = column.name + LENGTH_SUFFIX
            lengths = list(features[name].int64_list.value) if name in features else [len(flat)]
            ends = pl.Series(lengths, dtype=pl.Int64).cum_sum().to_list()
            flat = [flat[end - n : end] for n, end in zip(lengths, ends, strict=True)]
            of_type = pl.List(of_type)
        found[column.name] = pl.Series(flat, dtype=of_type)
    return pl.DataFrame(found)
