"""Polars frames as they travel between Beam stages, and ragged columns as they meet NumPy."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Int64s = npt.NDArray[np.int64]


def pack(frame: pl.DataFrame) -> bytes:
    """A frame as compressed Arrow IPC bytes."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


def unpack(data: bytes, columns: list[str] | None = None) -> pl.DataFrame:
    """The frame that `pack` was given, or only some of its columns."""
    return pl.read_ipc(io.BytesIO(data), columns=columns)


def unpack_all(parts: Iterable[bytes]) -> pl.DataFrame | None:
    """The rows of several packed frames of one schema; None where there are no frames."""
    frames = [unpack(part) for part in parts]
    return pl.concat(frames) if frames else None


def ragged(values: npt.NDArray[Any] | pa.Array, lengths: Int64s) -> pl.Series:
    """A list column of `lengths` [rows] that cuts up `values` [total]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), flat)
    series = pl.from_arrow(lists)
    assert isinstance(series, pl.Series)
    return series


def flatten(series: pl.Series) -> tuple[npt.NDArray[Any], Int64s]:
    """Values [total] and lengths [rows] of a list column of numbers without nulls."""
    lists = series.rechunk().to_arrow()
    return (
        lists.flatten().to_numpy(zero_copy_only=False),
        np.diff(lists.offsets.to_numpy()).astype(np.int64),
    )


def gather_ranges(first: Int64s, last: Int64s) -> Int64s:
    """The numbers first[i]..last[i] - 1 of every i, one range after the other."""
    lengths = last - first
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum(), dtype=np.int64) + np.repeat(first - starts, lengths)


Packed = tuple[int, bytes]
"""A group of users, or another key, and a packed frame."""


def split_by(frame: pl.DataFrame, group: np.ndarray) -> Iterator[Packed]:
    """The frame cut up by group."""
    grouped = frame.with_columns(pl.Series("group", group))
    for part in grouped.partition_by("group", maintain_order=True):
        yield int(part["group"][0]), pack(part.drop("group"))
