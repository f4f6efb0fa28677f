"""Packed tf.train.Examples in TFRecord framing, written from columns without TensorFlow.

One record holds N rows column by column: a scalar column has N values, a column of fixed length n
has N·n, a ragged column `c` all its values and its N row lengths in `c#length`. N = 1 gives the
ordinary one-row Example. The wire format is protocol buffers' (tensorflow/core/example).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np
import numpy.typing as npt

from preprocessing.features import LENGTH_SUFFIX, Column, DType

_FIELD_BYTES, _FIELD_FLOAT, _FIELD_INT64 = 1, 2, 3  # of the oneof in tf.train.Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """One column of a block of rows.

    Attributes:
        flat: all values in row order: int64 or float32 array, or a list of bytes.
        lengths: int64 [rows] of a ragged column, else None.
    """

    flat: npt.NDArray[np.int64] | npt.NDArray[np.float32] | Sequence[bytes]
    lengths: npt.NDArray[np.int64] | None = None

    def slice(self, start: int, stop: int, *, width: int = 1) -> "Values":
        """Rows start..stop; `width` is the fixed length of a column that is not ragged."""
        if self.lengths is None:
            return Values(flat=self.flat[start * width : stop * width])
        first = int(self.lengths[:start].sum())
        last = first + int(self.lengths[start:stop].sum())
        return Values(flat=self.flat[first:last], lengths=self.lengths[start:stop])


def encode(columns: Sequence[Column], block: Mapping[str, Values]) -> bytes:
    """Serializes a block of rows as one tf.train.Example.

    Args:
        columns: those to write; each must be in the block.
        block: values by column name, all of the same number of rows.
    """
    features = []
    for column in columns:
        values = block[column.name]
        features.append(_entry(column.name, column.dtype, values.flat))
        if column.is_ragged:
            assert values.lengths is not None, column.name
            features.append(_entry(column.name + LENGTH_SUFFIX, DType.INT64, values.lengths))
    return _delimited(1, b"".join(features))


def frame(record: bytes) -> bytes:
    """A record as TFRecord files hold it: length, its masked CRC-32C, the bytes, theirs."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_crc(length), record, _masked_crc(record)))


def encode_rows(
    columns: Sequence[Column], block: Mapping[str, Values], *, rows: int, rows_per_record: int
) -> tuple[bytes, ...]:
    """Cuts a block of `rows` rows into framed records of `rows_per_record`, the last shorter."""
    widths = {c.name: c.length or 1 for c in columns}
    return tuple(
        frame(
            encode(
                columns,
                {
                    c.name: block[c.name].slice(
                        start, min(start + rows_per_record, rows), width=widths[c.name]
                    )
                    for c in columns
                },
            )
        )
        for start in range(0, rows, rows_per_record)
    )


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = tuple(_varint(n) for n in range(1024))


def _delimited(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _entry(name: str, dtype: DType, flat: object) -> bytes:
    if dtype is DType.INT64:
        kind, packed = _FIELD_INT64, _delimited(1, varints(np.asarray(flat, np.int64)))
    elif dtype is DType.FLOAT:
        kind, packed = _FIELD_FLOAT, _delimited(1, np.asarray(flat, "<f4").tobytes())
    else:
        assert isinstance(flat, Sequence)
        kind, packed = _FIELD_BYTES, _bytes_list(flat)
    return _delimited(1, _delimited(1, name.encode()) + _delimited(2, _delimited(kind, packed)))


def _bytes_list(values: Sequence[bytes]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        length = len(value)
        parts += (b"\n", _SHORT[length] if length < 1024 else _varint(length), value)
    return b"".join(parts)


def varints(values: npt.NDArray[np.int64]) -> bytes:
    """Base-128 varints of int64 values, one after the other; negative ones take ten bytes."""
    if values.size == 0:
        return b""
    unsigned = values.astype(np.uint64)
    width = np.ones(values.size, np.int64)
    for bits in range(7, 64, 7):
        width += unsigned >= np.uint64(1 << bits)
    out = np.empty(int(width.sum()), np.uint8)
    first = np.cumsum(width) - width
    for index in range(int(width.max())):
        here = width > index
        payload = (unsigned[here] >> np.uint64(7 * index)) & np.uint64(0x7F)
        more = (width[here] > index + 1).astype(np.uint64) << np.uint64(7)
        out[first[here] + index] = payload | more
    return out.tobytes()
