"""Writing and reading rows: packed Examples against one-row ones by TensorFlow's own classes.

The rows are those of the default config, every column written; read are those that training reads.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from benchmarks.preprocessing.beam_peer import example_of
from benchmarks.preprocessing.decode import decode
from preprocessing.columns import ITEM, Column, DType
from preprocessing.features import FeatureSpec
from preprocessing.rows import HASH
from preprocessing.writer import write_records
from trainer.input import fixed_parallelism
from trainer.records import flat_features, parse_block, to_dense

_ROWS_PER_RECORD = 1_024
_FILE_TIMES = 10  # Files are read so often in one go, for times that can be told apart.
_ROWS_TO_PARSE = 4_096
_RECORDS_TO_PARSE = 16
HISTORY_COLUMNS = frozenset(
    {
        *("user_id", "age", "gender", "country", "timestamp", "history_item", "history_timestamp"),
        *("item", "day", "label_time", "weight"),
    }
)
"""What a model of histories reads: eleven columns, two of them lists of up to 50."""
_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}


class RecordsBenchmark:
    """The same rows in both forms, and each way to write and to read them."""

    def __init__(self, rows: pl.DataFrame, spec: FeatureSpec, folder: Path):
        """Takes train rows as `decode` gives them, and where files go."""
        self._columns, self._read_columns = spec.train_columns, spec.training_columns
        self._strings = rows
        self._packed, self._one_row = folder / "packed.tfrecord", folder / "one_row.tfrecord"
        # The job holds lists of strings as codes, whoever then writes them.
        self._keys, coded = {}, {}
        for column in self._columns:
            if column.is_ragged and column.dtype is DType.BYTES:
                values = rows[column.name].explode(empty_as_null=False).unique().sort()
                codes = pl.int_range(len(values), eager=True, dtype=pl.Int32)
                coded[column.name] = rows[column.name].list.eval(
                    pl.element().replace_strict(values, codes, return_dtype=pl.Int32)
                )
                self._keys[column.name] = values
        order = np.arange(len(rows), dtype=np.uint64)
        self._coded = rows.with_columns(**coded, **{HASH: pl.Series(order)})

    def write_packed(self) -> float:
        """Seconds that the job's writer takes."""
        start = time.perf_counter()
        write_records(
            str(self._packed),
            self._coded,
            self._columns,
            keys=self._keys,
            rows_per_record=_ROWS_PER_RECORD,
        )
        return time.perf_counter() - start

    def write_one_row(self) -> float:
        """Seconds that a loop over rows takes, one tf.train.Example each."""
        start = time.perf_counter()
        with tf.io.TFRecordWriter(str(self._one_row)) as writer:
            for row in self._strings.iter_rows(named=True):
                writer.write(example_of(row, self._columns).SerializeToString())
        return time.perf_counter() - start

    def same(self) -> bool:
        """Whether both files hold the same rows, those that were given."""
        packed = decode([self._packed], self._columns)
        return packed.equals(decode([self._one_row], self._columns)) and packed.equals(
            self._strings
        )

    def read_packed(self, *, dense: bool, only: frozenset[str] | None = None) -> float:
        """Seconds to read and parse as training does.

        Args:
            dense: pad lists too, as training needs them; else values and row lengths are the end.
            only: these columns; None: all that training reads.
        """
        columns = self._read(only)
        features = flat_features(columns)

        def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
            if dense:
                return parse_block(records, columns)
            return tf.io.parse_example(records, features)

        return self._time(self._packed, _RECORDS_TO_PARSE, parse)

    def read_one_row(self, *, dense: bool, only: frozenset[str] | None = None) -> float:
        """Seconds to read one-row Examples and to parse many rows at a time; as `read_packed`."""
        columns = self._read(only)
        features = {column.name: _feature(column) for column in columns}

        def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = tf.io.parse_example(records, features)
            return to_dense(rows, columns) if dense else rows

        return self._time(self._one_row, _ROWS_TO_PARSE, parse)

    def _read(self, only: frozenset[str] | None) -> list[Column]:
        return [c for c in self._read_columns if only is None or c.name in only]

    def _time(
        self, file: Path, records: int, parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    ) -> float:
        serialized = tf.data.TFRecordDataset([str(file)] * _FILE_TIMES).batch(records)
        batches = serialized.map(parse, num_parallel_calls=2).prefetch(4)
        batches = batches.with_options(fixed_parallelism())

        @tf.function
        def count() -> tf.Tensor:
            """All in the graph: a loop in Python would cost more than reading does."""
            return batches.reduce(tf.constant(0), lambda n, batch: n + _rows_in(batch[ITEM]))

        count()  # Tracing is not reading.
        start = time.perf_counter()
        rows = int(count())
        seconds = time.perf_counter() - start
        if rows != _FILE_TIMES * len(self._strings):
            raise AssertionError(f"read {rows} rows, expected {len(self._strings)} so often")
        return seconds / _FILE_TIMES


def _rows_in(column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    return tf.shape(column.flat_values if isinstance(column, tf.RaggedTensor) else column)[0]


def _feature(column: Column) -> object:
    dtype = _TF_DTYPE[column.dtype]
    if column.is_ragged:
        return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
    return tf.io.FixedLenFeature([] if column.length is None else [column.length], dtype)
