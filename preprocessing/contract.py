"""The raw log contract: which columns each table has, of what kind, within which bounds.

Derived from the feature spec, so that only columns that something needs are read.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from configs.errors import UserError
from configs.kinds import EVENTS, Bounded, Entity, Feature, LogZScore, Text
from preprocessing.columns import TIMESTAMP, USER_ID, Column, DType
from preprocessing.features import FeatureSpec, columns_of

VIDEO_ID = "video_id"
EVENT = "event"
EVENT_CODE = pl.Enum(EVENTS)
"""Event names as small integers, in the contract's order."""

TABLES = ("events", "videos", "users")
_TABLE_OF = {Entity.USER: "users", Entity.ITEM: "videos", Entity.CONTEXT: "events"}
_LONGEST_VIDEO_S = 10_000_000.0


class Kind(enum.Enum):
    """What a column may hold, in words for messages."""

    TEXT = "a string"
    INTEGER = "an integer"
    SECONDS = "an integer, UTC seconds"
    NUMBER = "a number"
    TIME = "seconds, a date, a timestamp or an ISO 8601 string"
    VECTOR = "a list of numbers"
    TEXTS = "a list of strings"


DTYPES: dict[Kind, pl.DataType] = {
    Kind.TEXT: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.SECONDS: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.TIME: pl.Int64(),
    Kind.VECTOR: pl.List(pl.Float32()),
    Kind.TEXTS: pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a raw table.

    Attributes:
        name: of the column.
        kind: what it may hold.
        required: whether each row must have it.
        low: the least value; None for any.
        high: the largest value; None for any.
        above: the value must be larger than this; None for any.
        length: of a vector.
        features: those that are read from it; if there are any, some row of the table must have it.
    """

    name: str
    kind: Kind
    required: bool = False
    low: float | None = None
    high: float | None = None
    above: float | None = None
    length: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A raw table as the job reads it.

    Attributes:
        name: of the table and of its flag.
        fields: the columns that are read, by name.
        max_line_bytes: a longer line of JSON is malformed.
    """

    name: str
    fields: Mapping[str, Field]
    max_line_bytes: int


def tables_of(spec: FeatureSpec) -> dict[str, Table]:
    """The three tables as a spec needs them, by name.

    Raises:
        UserError: a feature reads a column of the contract as something that it is not.
    """
    data = spec.data
    fields = {
        "events": [
            Field(name=EVENT, kind=Kind.TEXT, required=True),
            Field(name=USER_ID, kind=Kind.TEXT, required=True),
            Field(name=VIDEO_ID, kind=Kind.TEXT, required=True),
            Field(
                name=TIMESTAMP,
                kind=Kind.SECONDS,
                required=True,
                low=data.min_timestamp,
                high=data.max_timestamp,
            ),
            Field(name="watch_sec", kind=Kind.NUMBER, low=0, high=data.max_watch_sec),
            Field(name="video_duration", kind=Kind.NUMBER, above=0, high=_LONGEST_VIDEO_S),
            Field(name="position", kind=Kind.INTEGER, low=0),
            Field(name="propensity", kind=Kind.NUMBER, low=0, high=1),
            Field(name="session_id", kind=Kind.TEXT),
        ],
        "videos": [
            Field(name=VIDEO_ID, kind=Kind.TEXT, required=True),
            Field(name="title", kind=Kind.TEXT),
            Field(name="duration_sec", kind=Kind.NUMBER, above=0, high=_LONGEST_VIDEO_S),
            Field(name="upload_time", kind=Kind.TIME, low=0, high=data.max_timestamp),
        ],
        "users": [Field(name=USER_ID, kind=Kind.TEXT, required=True)],
    }
    known = {table: {f.name: f for f in each} for table, each in fields.items()}
    for name, feature in spec.features.items():
        if not feature.column or feature.column == USER_ID:
            continue
        if feature.entity is Entity.CONTEXT and feature.column == TIMESTAMP:
            continue  # the request's own, which every event has
        table = known[_TABLE_OF[feature.entity]]
        wanted = _field_of(name, feature, data.max_timestamp)
        found = table.setdefault(feature.column, wanted)
        if found.kind is not wanted.kind:
            raise UserError(
                f"config.features.{name}.column: {feature.column} holds {found.kind.value}, "
                f"expected {wanted.kind.value} for {type(feature).__name__}"
            )
        if not found.required:
            table[feature.column] = replace(found, features=(*found.features, name))
    return {
        table: Table(name=table, fields=known[table], max_line_bytes=data.max_line_bytes)
        for table in TABLES
    }


def _field_of(name: str, feature: Feature, max_timestamp: int) -> Field:
    if isinstance(feature, Text):
        return Field(name=feature.column, kind=Kind.TEXT)
    column: Column = columns_of(name, feature)[0]
    if column.is_ragged:
        return Field(name=column.name, kind=Kind.TEXTS)
    if column.dtype is DType.BYTES:
        return Field(name=column.name, kind=Kind.TEXT)
    if column.dtype is DType.INT64:
        return Field(name=column.name, kind=Kind.TIME, low=0, high=max_timestamp)
    if column.length is not None:
        return Field(name=column.name, kind=Kind.VECTOR, length=column.length)
    # Below 0 stands for what is missing.
    low = 0 if isinstance(feature, LogZScore | Bounded) else None
    return Field(name=column.name, kind=Kind.NUMBER, low=low)


def check_parquet(path: str, schema: pa.Schema, table: Table) -> None:
    """Checks the columns of a Parquet file before any row is read.

    Raises:
        UserError: required columns are missing, or some are of another type; all are named.
    """
    wrong = []
    for field in table.fields.values():
        index = schema.get_field_index(field.name)
        if index < 0:
            if field.required:
                wrong.append(
                    f"found no column {field.name!r}, expected it to hold {field.kind.value}"
                )
            continue
        found = schema.field(index).type
        if not _is_readable(found, field.kind):
            wrong.append(f"column {field.name!r}: found {found}, expected {field.kind.value}")
    if wrong:
        raise UserError(f"--{table.name}: {path}: {'; '.join(wrong)}")


def _is_readable(found: pa.DataType, kind: Kind) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    is_list = (
        pa.types.is_list(found)
        or pa.types.is_large_list(found)
        or pa.types.is_fixed_size_list(found)
    )
    text = _is_text(found)
    integer = pa.types.is_integer(found)
    number = integer or pa.types.is_floating(found) or pa.types.is_decimal(found)
    match kind:
        case Kind.TEXT:
            readable = text or integer or pa.types.is_boolean(found)
        case Kind.INTEGER | Kind.SECONDS:
            readable = integer
        case Kind.NUMBER:
            readable = number
        case Kind.TIME:
            readable = text or integer or pa.types.is_date(found) or pa.types.is_timestamp(found)
        case Kind.VECTOR:
            readable = is_list and (
                pa.types.is_integer(found.value_type) or pa.types.is_floating(found.value_type)
            )
        case Kind.TEXTS:
            readable = is_list and (
                _is_text(found.value_type)
                or pa.types.is_integer(found.value_type)
                or pa.types.is_null(found.value_type)
            )
    return readable or pa.types.is_null(found)


def _is_text(found: pa.DataType) -> bool:
    return (
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
    )


def check_present(tables: Iterable[Table], present: Mapping[str, Iterable[str]]) -> None:
    """Checks that features find their columns.

    Args:
        tables: to check, as the spec needs them.
        present: by name of a table, the columns that some row or file of it has; a table that is
            not in it was not given.

    Raises:
        UserError: columns of features are nowhere; the message names all of them, and the features.
    """
    missing = []
    for table in tables:
        names = set(present.get(table.name, ()))
        columns = ", ".join(
            f"{field.name!r} ({', '.join(field.features)})"
            for field in table.fields.values()
            if field.features and field.name not in names
        )
        if columns:
            is_given = table.name in present
            missing.append(
                f"column {columns} in --{table.name}"
                if is_given
                else f"--{table.name} with {columns}"
            )
    if missing:
        raise UserError(
            f"config.features: found no {', no '.join(missing)}; expected them there, or the "
            "features in brackets left out of the config"
        )


def reason_of(table: Table) -> pl.Expr:
    """Why a row breaks the contract: the first reason, null where it keeps it."""
    reasons: list[pl.Expr] = []

    def add(broken: pl.Expr, reason: str) -> None:
        reasons.append(pl.when(broken).then(pl.lit(reason)))

    for field in table.fields.values():
        column, name = pl.col(field.name), field.name
        if field.required:
            missing = column.is_null()
            if field.kind is Kind.TEXT:
                missing = missing | (column == "")
            add(missing, f"{name}: missing")
        if table.name == "events" and name == EVENT:
            add(~column.is_in(EVENTS), f"{name}: none of {', '.join(EVENTS)}")
        if field.kind is Kind.NUMBER:
            # Rows hold numbers as float32.
            add(~column.cast(pl.Float32).is_finite(), f"{name}: not finite")
        unit = " UTC seconds" if field.kind in (Kind.SECONDS, Kind.TIME) else ""
        if field.low is not None:
            add(column < field.low, f"{name}: below {field.low:.12g}{unit}")
        if field.above is not None:
            add(column <= field.above, f"{name}: not above {field.above:.12g}")
        if field.high is not None:
            add(column > field.high, f"{name}: above {field.high:.12g}{unit}")
        if field.kind is Kind.VECTOR:
            add(column.list.len() != field.length, f"{name}: not of length {field.length}")
            finite = column.list.eval(pl.element().is_finite().fill_null(False)).list.all()
            add(~finite, f"{name}: not finite")
    return pl.coalesce(reasons)
