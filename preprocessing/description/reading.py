"""Packed records read back as columns, without TensorFlow: the inverse of `preprocessing.records`.

Records are parsed by protocol buffers' own runtime, from the three messages of
tensorflow/core/example that they are made of, declared here.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from configs.errors import UserError
from preprocessing.columns import END_SUFFIX, LENGTH_SUFFIX, Column, DType
from preprocessing.records import masked_crc

_HEADER, _SUM = 12, 4
_BLOCK_ROWS = 4_096


def read_rows(
    path: Path, columns: Sequence[Column], *, block_rows: int = _BLOCK_ROWS
) -> Iterator[pl.DataFrame]:
    """The rows of one file, in blocks, with one block in memory at a time.

    Args:
        path: a TFRecord file of packed `tf.train.Example`s.
        columns: those to decode; the first must be a scalar.
        block_rows: a block has at least so many rows, but for the last.

    Yields:
        Blocks of rows: scalar columns as they are, columns of fixed length and ragged ones as
        lists; int64, float32 and strings.

    Raises:
        UserError: the file is cut, a check sum does not hold, or a record is of other columns.
    """
    assert columns[0].length is None and not columns[0].is_ragged
    block = _Block(columns)
    for payload in read_payloads(path):
        try:
            block.add(payload)
        except DecodeError:
            raise UserError(f"{path}: found a record that is no tf.train.Example") from None
        if block.rows >= block_rows:
            yield block.frame(path)
            block = _Block(columns)
    if block.rows:
        yield block.frame(path)


def read_payloads(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, both check sums of each verified.

    Raises:
        UserError: the file ends within a record, or a check sum does not hold.
    """
    with open(path, "rb") as file:
        while header := file.read(_HEADER):
            at = file.tell() - len(header)
            length = header[:8]
            if len(header) < _HEADER or masked_crc(length) != header[8:]:
                raise _broken(path, at)
            size = int.from_bytes(length, "little")
            body = file.read(size + _SUM)
            if len(body) < size + _SUM or masked_crc(body[:size]) != body[size:]:
                raise _broken(path, at)
            yield body[:size]


def _broken(path: Path, at: int) -> UserError:
    return UserError(f"{path}: found a broken record at byte {at}, expected whole TFRecords")


class _Block:
    """Values of some rows by column, as they were parsed."""

    def __init__(self, columns: Sequence[Column]):
        self._columns = columns
        self._values: dict[str, list[Any]] = {c.name: [] for c in columns}
        self._lengths: dict[str, list[int]] = {c.name: [] for c in columns if c.is_ragged}

    @property
    def rows(self) -> int:
        return len(self._values[self._columns[0].name])

    def add(self, payload: bytes) -> None:
        features = _EXAMPLE.FromString(payload).features.feature
        for column in self._columns:
            # What an Example lacks reads as a Feature without values, which `frame` finds.
            name, values = column.name, _values(features[column.name], column.dtype)
            if name + END_SUFFIX in features:  # a sequence, whose rows are beginnings of one list
                ends = features[name + END_SUFFIX].int64_list.value
                self._values[name].extend(v for end in ends for v in values[:end])
                self._lengths[name].extend(ends)
                continue
            self._values[name].extend(values)
            if column.is_ragged:
                self._lengths[name].extend(features[name + LENGTH_SUFFIX].int64_list.value)

    def frame(self, path: Path) -> pl.DataFrame:
        rows = self.rows
        arrays: dict[str, pa.Array] = {}
        for column in self._columns:
            values = self._values[column.name]
            if column.is_ragged:
                lengths = np.array(self._lengths[column.name], np.int64)
                expected = (rows, int(lengths.sum()))
                found = (len(lengths), len(values))
            else:
                lengths = np.full(rows, column.length or 1)
                expected, found = (rows, int(lengths.sum())), (rows, len(values))
            if found != expected:
                raise UserError(
                    f"{path}: column {column.name!r} has {found[1]} values in {found[0]} rows, "
                    f"expected {expected[1]} in {expected[0]}"
                )
            flat = pa.array(values, _ARROW[column.dtype])
            if column.dtype is DType.BYTES:
                flat = flat.cast(pa.large_string())
            if column.is_ragged or column.length is not None:
                offsets = np.concatenate([[0], np.cumsum(lengths)])
                flat = pa.LargeListArray.from_arrays(pa.array(offsets), flat)
            arrays[column.name] = flat
        frame = pl.from_arrow(pa.table(arrays))
        assert isinstance(frame, pl.DataFrame)
        return frame


_ARROW: Final[dict[DType, Any]] = {
    DType.INT64: pa.int64(),
    DType.FLOAT: pa.float32(),
    DType.BYTES: pa.large_binary(),
}
_LISTS: Final[dict[DType, tuple[str, int]]] = {
    DType.BYTES: ("bytes_list", descriptor_pb2.FieldDescriptorProto.TYPE_BYTES),
    DType.FLOAT: ("float_list", descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT),
    DType.INT64: ("int64_list", descriptor_pb2.FieldDescriptorProto.TYPE_INT64),
}
"""By dtype: the field of tf.train.Feature, in order from 1, and the type of its values."""


def _values(feature: Any, dtype: DType) -> Any:
    return getattr(feature, _LISTS[dtype][0]).value


def _example_class() -> Any:
    """The class of tf.train.Example.

    It is in a pool of its own, so that TensorFlow, where it is loaded too, finds no second
    declaration of its names.

    Source: tensorflow/core/example/example.proto, feature.proto.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )

    def message(name: str) -> Callable[..., None]:
        declared = file.message_type.add(name=name)

        def add(name: str, number: int, of: int | str, *, repeated: bool = False) -> None:
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added = declared.field.add(name=name, number=number, label=label)
            if isinstance(of, str):
                added.type, added.type_name = field.TYPE_MESSAGE, f".tensorflow.{of}"
            else:
                added.type = of  # type: ignore[assignment]

        return add

    lists = {name: f"List{number}" for number, (name, _) in enumerate(_LISTS.values(), 1)}
    for name, of in _LISTS.values():
        message(lists[name])("value", 1, of, repeated=True)
    feature = message("Feature")
    for number, (name, _) in enumerate(_LISTS.values(), 1):
        feature(name, number, lists[name])
    message("Features")("feature", 1, "Features.FeatureEntry", repeated=True)
    entry = file.message_type[-1].nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    entry.field.add(
        name="value",
        number=2,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Feature",
    )
    message("Example")("features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


_EXAMPLE = _example_class()
