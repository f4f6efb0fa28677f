"""Files of the dataset, written through Beam's file systems."""

import io
import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from preprocessing.columns import END_SUFFIX, USER_ID, Column, DType
from preprocessing.frames import flatten
from preprocessing.records import Values, encode_records
from preprocessing.rows import HASH, PLACE

_GROUP_ROWS = 1 << 16


def write_file(path: str, blocks: Iterable[bytes | memoryview], *, private: bool = False) -> None:
    """Writes a file beside its place and renames it, since a runner may do its work twice.

    Args:
        path: where; missing folders above it are made.
        blocks: its bytes.
        private: on a local disk only its owner may read it.
    """
    folder = posixpath.dirname(path)
    if not FileSystems.exists(folder):
        try:
            FileSystems.mkdirs(folder)
        except OSError:
            # Another worker was faster; if none was, opening the file says what is wrong.
            if not FileSystems.exists(folder):
                raise
    beside = f"{path}.{os.getpid()}"
    if private and FileSystems.get_scheme(path) is None:
        os.close(os.open(beside, os.O_CREAT | os.O_WRONLY, 0o600))
    with FileSystems.create(beside, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for block in blocks:
            file.write(block)
    FileSystems.rename([beside], [path])


def write_records(
    path: str,
    frame: pl.DataFrame,
    columns: tuple[Column, ...],
    *,
    keys: Mapping[str, pl.Series],
    rows_per_record: int,
) -> int:
    """Writes rows as packed Examples, in order of their hash; returns the records.

    Args:
        path: where.
        frame: `columns` and `hash`; in the sequence form also `place` and the ends of histories.
        columns: those to write.
        keys: the strings that list columns hold codes of.
        rows_per_record: rows in one record; a sequence, which are rows of one hash, is a record of
            its own.
    """
    if PLACE in frame.columns:
        frame = frame.sort(HASH, USER_ID, PLACE)
        hashes = frame[HASH].to_numpy()
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(hashes)) + 1, [len(frame)]])
    else:
        ties = [c for c in ("label_time", "item") if c in frame.columns]
        frame = frame.sort(HASH, *ties)
        bounds = np.append(np.arange(0, len(frame), rows_per_record), len(frame))
    block = {}
    for c in columns:
        block[c.name] = _values(frame[c.name], c, keys.get(c.name))
        if c.is_prefix:
            ends = frame[c.name + END_SUFFIX].to_numpy()
            block[c.name] = replace(block[c.name], ends=ends)
    write_file(path, encode_records(columns, block, bounds))
    return len(bounds) - 1


def _values(series: pl.Series, column: Column, keys: pl.Series | None) -> Values:
    if column.is_ragged and column.dtype is DType.BYTES and keys is None:
        lengths = series.list.len().to_numpy().astype(np.int64)
        return Values(flat=series.explode().drop_nulls().cast(pl.Binary).to_list(), lengths=lengths)
    if column.is_ragged:
        flat, lengths = flatten(series)
        if keys is not None:
            names = keys.cast(pl.Binary).to_list()
            return Values(flat=[names[code] for code in flat.tolist()], lengths=lengths)
        return Values(flat=flat.astype(np.int64), lengths=lengths)
    if column.length is not None:
        return Values(flat=flatten(series)[0].astype(np.float32))
    if column.dtype is DType.BYTES:
        return Values(flat=series.cast(pl.Binary).to_list())
    numbers = series.to_numpy()
    if column.dtype is DType.INT64:
        return Values(flat=numbers.astype(np.int64))
    return Values(flat=numbers.astype(np.float32))


def write_parquet(path: str, frame: pl.DataFrame) -> int:
    """Writes a Parquet file; returns the rows."""
    buffer = io.BytesIO()
    pq.write_table(
        _plain(frame.rechunk().to_arrow()), buffer, compression="zstd", row_group_size=_GROUP_ROWS
    )
    write_file(path, [buffer.getbuffer()])
    return len(frame)


def _plain(table: pa.Table) -> pa.Table:
    """Strings and lists in the types that every reader knows."""
    return table.cast(pa.schema([pa.field(f.name, _plain_type(f.type)) for f in table.schema]))


def _plain_type(of: pa.DataType) -> pa.DataType:
    if pa.types.is_large_list(of) or pa.types.is_list(of):
        return pa.list_(_plain_type(of.value_type))
    return pa.string() if pa.types.is_large_string(of) or pa.types.is_string_view(of) else of


def write_json(path: str, body: Any) -> None:
    """Writes a JSON file."""
    write_file(path, [orjson.dumps(body, option=orjson.OPT_INDENT_2)])


def write_json_lines(path: str, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSON Lines that only their owner may read."""
    write_file(
        path, (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows), private=True
    )
