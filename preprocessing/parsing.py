"""Lines and Parquet rows to typed columns; what breaks the contract goes aside with its reason."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from preprocessing.contract import DTYPES, EVENT, EVENT_CODE, Field, Kind, Table, reason_of

LINE = "line"
_RAW_BYTES = 1024
BOM = b"\xef\xbb\xbf"
"""That some programs put before the first line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A chunk of one file.

    Attributes:
        rows: what keeps the contract: the table's columns, null where missing, and `line`.
        dead: what breaks it: `line`, `reason`, `raw`.
        present: columns that some row has.
    """

    rows: pl.DataFrame
    dead: pl.DataFrame
    present: frozenset[str]


def empty_rows(table: Table) -> pl.DataFrame:
    """No rows, as `Parsed.rows` holds them."""
    schema = {field.name: DTYPES[field.kind] for field in table.fields.values()}
    if table.name == "events":
        schema[EVENT] = pl.UInt8()
    return pl.DataFrame(schema={**schema, LINE: pl.Int64()})


def parse_lines(lines: list[bytes], first: int, table: Table) -> Parsed:
    """Parses lines of JSON; blank ones count for nothing.

    Args:
        lines: without their ends.
        first: number of the first.
        table: what they are rows of.
    """
    if first == 1 and lines[0].startswith(BOM):
        lines = [lines[0][len(BOM) :], *lines[1:]]
    numbers, documents, broken = _load(lines, first, table.max_line_bytes)
    columns: dict[str, pl.Series] = {}
    present = set()
    wrong: dict[int, str] = {}
    for field in table.fields.values():
        name = field.name
        values = [document.get(name) for document in documents]
        types = set(map(type, values))
        if types - {type(None)} or any(name in document for document in documents):
            present.add(name)
        columns[name] = _FROM_JSON[field.kind](field, values, types, wrong)
    frame = pl.DataFrame({**columns, LINE: np.array(numbers, np.int64)})
    rows, dead = _divide(frame, wrong, table)
    raw = [_cap(lines[number - first]) for number in dead[LINE]]
    dead = dead.with_columns(pl.Series("raw", raw, dtype=pl.String))
    return Parsed(rows=rows, dead=pl.concat([dead, broken]), present=frozenset(present))


def _load(
    lines: list[bytes], first: int, max_bytes: int
) -> tuple[list[int], list[dict[str, Any]], pl.DataFrame]:
    """Line numbers and objects of the lines that hold one, and dead letters of the others."""
    loads = orjson.loads
    documents: list[dict[str, Any]] = []
    numbers: list[int] = []
    if max(map(len, lines), default=0) <= max_bytes:
        try:
            documents = [loads(line) for line in lines]
            numbers = list(range(first, first + len(lines)))
        except orjson.JSONDecodeError:
            documents = []
    dead: list[tuple[int, str, str]] = []
    if not numbers:
        for number, line in enumerate(lines, first):
            if len(line) > max_bytes:
                dead.append((number, f"longer than {max_bytes} bytes", _cap(line)))
                continue
            if not line.strip():
                continue
            try:
                documents.append(loads(line))
                numbers.append(number)
            except orjson.JSONDecodeError:
                dead.append((number, _why_no_json(line), _cap(line)))
    if set(map(type, documents)) - {dict}:
        for number, document in zip(numbers, documents, strict=True):
            if type(document) is not dict:
                dead.append((number, "not a JSON object", _cap(lines[number - first])))
        kept = [i for i, document in enumerate(documents) if type(document) is dict]
        numbers, documents = [numbers[i] for i in kept], [documents[i] for i in kept]
    schema = {LINE: pl.Int64, "reason": pl.String, "raw": pl.String}
    return numbers, documents, pl.DataFrame(dead, schema=schema, orient="row")


def _why_no_json(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return "not JSON"


def _cap(line: bytes) -> str:
    return line[:_RAW_BYTES].decode(errors="backslashreplace")


def parse_batch(batch: pa.Table, first: int, table: Table) -> Parsed:
    """Takes rows of a Parquet file whose columns `contract.check_parquet` has passed.

    Args:
        batch: its rows.
        first: number of the first.
        table: what they are rows of.
    """
    names = set(batch.schema.names)
    columns: dict[str, pl.Series] = {}
    wrong: dict[int, str] = {}
    for field in table.fields.values():
        if field.name in names:
            array = batch[field.name].combine_chunks()
            columns[field.name] = _from_arrow(field, array, wrong)
        else:
            columns[field.name] = pl.Series([None], dtype=DTYPES[field.kind]).new_from_index(
                0, batch.num_rows
            )
    frame = pl.DataFrame({**columns, LINE: np.arange(first, first + batch.num_rows)})
    rows, dead = _divide(frame, wrong, table)
    raw = [
        json.dumps(row, default=repr, ensure_ascii=False)[:_RAW_BYTES]
        for row in batch.take(pa.array(dead[LINE].to_numpy() - first)).to_pylist()
    ]
    dead = dead.with_columns(pl.Series("raw", raw, dtype=pl.String))
    return Parsed(rows=rows, dead=dead, present=frozenset(names & set(table.fields)))


def _divide(
    frame: pl.DataFrame, wrong: dict[int, str], table: Table
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that keep the contract, and `line` and `reason` of the others.

    Args:
        frame: typed columns and `line`.
        wrong: rows with a value that no typed column holds, and why.
        table: what they are rows of.
    """
    reason = frame.select(reason_of(table).alias("reason"))["reason"]
    if wrong:
        found = pl.Series([wrong.get(row) for row in range(len(frame))], dtype=pl.String)
        reason = pl.select(pl.coalesce(found, reason)).to_series()
    if reason.null_count() == len(reason):
        rows, dead = frame, frame.clear()
    else:
        rows, dead = frame.filter(reason.is_null()), frame.filter(reason.is_not_null())
    dead = dead.select(LINE, reason.drop_nulls().alias("reason"))
    if EVENT in rows.columns and table.name == "events":
        rows = rows.with_columns(pl.col(EVENT).cast(EVENT_CODE).to_physical())
    return rows, dead


def seconds_of(text: str) -> int | None:
    """UTC seconds of an ISO 8601 date or time, UTC where it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() // 1)


_FromJson = Callable[[Field, list[Any], set[type], dict[int, str]], pl.Series]
_NONE = type(None)


def _convert(
    field: Field,
    values: list[Any],
    wrong: dict[int, str],
    convert: Callable[[Any], Any],
) -> list[Any]:
    """Converts value by value; None from `convert` says that the value is of a wrong type."""
    out: list[Any] = []
    for row, value in enumerate(values):
        converted = None if value is None else convert(value)
        if value is not None and converted is None:
            wrong.setdefault(row, f"{field.name}: not {field.kind.value}")
        out.append(converted)
    return out


def _text(value: Any) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (str, int) else None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _time(value: Any) -> int | None:
    return seconds_of(value) if type(value) is str else _integer(value)


def _vector(value: Any) -> list[float] | None:
    is_numbers = type(value) is list and set(map(type, value)) <= {int, float}
    return [float(each) for each in value] if is_numbers else None


def _texts(value: Any) -> list[str | None] | None:
    """A list of strings; nulls in it count for nothing."""
    if type(value) is not list:
        return None
    texts = [None if each is None else _text(each) for each in value]
    is_texts = all(
        text is not None or each is None for text, each in zip(texts, value, strict=True)
    )
    return texts if is_texts else None


def _json_text(
    field: Field, values: list[Any], types: set[type], wrong: dict[int, str]
) -> pl.Series:
    if types - {str, _NONE}:
        values = _convert(field, values, wrong, _text)
    return pl.Series(field.name, values, dtype=pl.String)


def _json_integer(
    field: Field, values: list[Any], types: set[type], wrong: dict[int, str]
) -> pl.Series:
    if not types - {int, _NONE} and all(v is None or v.bit_length() < 64 for v in values):
        return pl.Series(field.name, values, dtype=pl.Int64)
    convert = _time if field.kind is Kind.TIME else _integer
    return pl.Series(field.name, _convert(field, values, wrong, convert), dtype=pl.Int64)


def _json_number(
    field: Field, values: list[Any], types: set[type], wrong: dict[int, str]
) -> pl.Series:
    if types - {int, float, _NONE}:
        values = _convert(field, values, wrong, _number)
    return pl.Series(field.name, np.array(values, np.float64)).fill_nan(None)


def _json_vector(
    field: Field, values: list[Any], types: set[type], wrong: dict[int, str]
) -> pl.Series:
    del types
    values = _convert(field, values, wrong, _vector)
    return pl.Series(field.name, values, dtype=pl.List(pl.Float32), strict=False)


def _json_texts(
    field: Field, values: list[Any], types: set[type], wrong: dict[int, str]
) -> pl.Series:
    del types
    values = _convert(field, values, wrong, _texts)
    return pl.Series(field.name, values, dtype=pl.List(pl.String))


_FROM_JSON: dict[Kind, _FromJson] = {
    Kind.TEXT: _json_text,
    Kind.INTEGER: _json_integer,
    Kind.SECONDS: _json_integer,
    Kind.NUMBER: _json_number,
    Kind.TIME: _json_integer,
    Kind.VECTOR: _json_vector,
    Kind.TEXTS: _json_texts,
}


def _from_arrow(field: Field, array: pa.Array, wrong: dict[int, str]) -> pl.Series:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_null(kind):
        series = pl.Series([None] * len(array), dtype=DTYPES[field.kind])
    elif field.kind is Kind.TEXT:
        series = _arrow_text(field, array, wrong)
    elif field.kind is Kind.VECTOR:
        series = _series(array.cast(pa.large_list(pa.float32())))
    elif field.kind is Kind.TEXTS:
        series = _arrow_texts(field, array, wrong)
    elif field.kind is Kind.NUMBER:
        series = _series(array.cast(pa.float64(), safe=False))
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = array.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        series = _series(moments) // 1000
    elif pa.types.is_integer(kind):
        # What is beyond 63 bits comes out negative, below every bound.
        series = _series(array.cast(pa.int64(), safe=False))
    else:
        texts = _arrow_text(field, array, wrong)
        series = pl.Series(_convert(field, texts.to_list(), wrong, _time), dtype=pl.Int64)
    return series.alias(field.name)


def _arrow_text(field: Field, array: pa.Array, wrong: dict[int, str]) -> pl.Series:
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        return _series(array.cast(pa.large_string()))
    text = array.cast(pa.large_binary())
    try:
        return _series(text.cast(pa.large_string()))
    except pa.ArrowInvalid:
        return pl.Series(_convert(field, text.to_pylist(), wrong, _decode), dtype=pl.String)


def _arrow_texts(field: Field, array: pa.Array, wrong: dict[int, str]) -> pl.Series:
    try:
        return _series(array.cast(pa.large_list(pa.large_string())))
    except pa.ArrowInvalid:
        bytes_lists = array.cast(pa.large_list(pa.large_binary())).to_pylist()
        return pl.Series(_convert(field, bytes_lists, wrong, _decode_all), dtype=pl.List(pl.String))


def _decode_all(values: list[bytes | None]) -> list[str | None] | None:
    texts = [None if value is None else _decode(value) for value in values]
    return (
        None
        if any(t is None for t, v in zip(texts, values, strict=True) if v is not None)
        else texts
    )


def _decode(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _series(array: pa.Array) -> pl.Series:
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series
