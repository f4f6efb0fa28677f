"""Videos that no dataset holds yet: JSON Lines to the raw columns that `embed_item` takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from preprocessing.columns import TIMESTAMP
from serving.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of `embed_item`.

    Attributes:
        dtype: `int64`, `float32` or `string`.
        shape: less the batch: () for a scalar, (length,) for a vector, (None,) for a list.
        latest: of an input that is a time, the last UTC second that it may be.
    """

    dtype: str
    shape: tuple[int | None, ...]
    latest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVideos:
    """What a file of videos holds.

    Attributes:
        video_id: n distinct ids, in the file's order.
        raw: columns [n, ...] by input name; missing values at their default, but no `timestamp`.
        repeated: rows of an id that an earlier row has; they are left out.
    """

    video_id: list[str]
    raw: Request
    repeated: int


def read_videos(path: Path, inputs: Mapping[str, Input], *, id_column: str) -> NewVideos:
    """Reads a JSON Lines file of the raw contract's videos table; other fields are ignored.

    Args:
        path: of the file.
        inputs: of `embed_item`, by name.
        id_column: the input that holds the video's id.

    Raises:
        UserError: the file is missing, or a line is no video; it names the line and the field.
    """
    columns: dict[str, list[Any]] = {name: [] for name in inputs if name != TIMESTAMP}
    ids: dict[str, None] = {}
    repeated = 0
    for number, line in enumerate(read_lines(path, flag="--add"), 1):
        where = f"--add={path}, line {number}"
        try:
            video = json.loads(line)
        except ValueError:
            raise UserError(f"{where}: found no JSON, expected an object") from None
        if not isinstance(video, dict):
            raise UserError(f"{where}: found {type(video).__name__}, expected an object")
        video_id = _text(video.get(id_column))
        if not video_id:
            raise UserError(f"{where}: found no {id_column}, expected an id")
        if video_id in ids:
            repeated += 1
            continue
        ids[video_id] = None
        for name, column in columns.items():
            value = _value(inputs[name], video.get(name))
            if value is None:
                raise UserError(
                    f"{where}: {name}: found {video[name]!r}, expected {_expected(inputs[name])}"
                )
            column.append(value)
    raw = {name: _array(inputs[name], column) for name, column in columns.items()}
    return NewVideos(video_id=list(ids), raw=raw, repeated=repeated)


def read_lines(path: Path, *, flag: str) -> list[str]:
    """The lines of a text file that are not blank, without their ends.

    Raises:
        UserError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag}={path}: cannot be read: {error}") from None
    return [line for line in text.splitlines() if line.strip()]


def _value(expected: Input, value: Any) -> Any:
    """A JSON value as the input takes it; None if it is of another type."""
    if expected.shape == (None,):
        values = [] if value is None else value
        if not isinstance(values, list):
            return None
        each = [_scalar(expected.dtype, v) for v in values]
        return None if None in each else each
    if expected.shape:
        (length,) = expected.shape
        values = [0.0] * int(length or 0) if value is None else value
        if not isinstance(values, list) or len(values) != length:
            return None
        each = [_scalar(expected.dtype, v) for v in values]
        return None if None in each else each
    if value is None:
        # As `preprocessing.columns.default_of`.
        return {"string": b"", "int64": 0, "float32": -1.0}[expected.dtype]
    found = _scalar(expected.dtype, value)
    is_out = found is not None and expected.latest is not None and not 0 <= found <= expected.latest
    return None if is_out else found


def _scalar(dtype: str, value: Any) -> Any:
    if dtype == "string":
        text = _text(value)
        return None if text is None else text.encode()
    if dtype == "int64":
        if isinstance(value, str):
            return _seconds(value)
        return value if type(value) is int and abs(value) < 2**62 else None
    number = float(value) if type(value) in (int, float) else float("nan")
    return number if np.isfinite(number) else None


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _seconds(text: str) -> int | None:
    """UTC seconds of an ISO 8601 date or time, UTC where it names no zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _expected(expected: Input) -> str:
    if expected.latest is not None:
        return f"a time or UTC seconds, 0 to {expected.latest} (config.data.max_timestamp)"
    one = {"string": "a string", "int64": "an integer", "float32": "a number"}
    if expected.shape == (None,):
        return f"a list, each {one[expected.dtype]}"
    if expected.shape:
        return f"a list of {expected.shape[0]}, each {one[expected.dtype]}"
    return one[expected.dtype]


def _array(expected: Input, column: list[Any]) -> np.ndarray:
    dtype = {"string": object, "int64": np.int64, "float32": np.float32}[expected.dtype]
    if expected.shape != (None,):
        return np.array(column, dtype).reshape(len(column), *expected.shape)
    width = max([1, *(len(values) for values in column)])
    padded = np.full((len(column), width), b"" if dtype is object else 0, dtype)
    for row, values in zip(padded, column, strict=True):
        row[: len(values)] = values
    return padded
