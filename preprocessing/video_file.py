"""One file of videos, read as the job reads the videos table: by the same parser and rules.

For videos that no dataset holds yet (`serving.update`). Neither Beam nor TensorFlow.
"""

from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from configs.errors import UserError
from preprocessing.catalog import as_column
from preprocessing.columns import TIMESTAMP, Column, DType
from preprocessing.contract import VIDEO_ID, Table, tables_of
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.lines import blocks_of, chunks_of
from preprocessing.parsing import BOM, LINE, empty_rows, parse_lines

UPLOAD_TIME = "upload_time"
_SHOWN = 60  # Characters of a value in a message.


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFile:
    """What a file of videos holds.

    Attributes:
        video_id: n distinct ids, in the file's order.
        line: of each the number of its line, from 1.
        columns: n rows: `upload_time`, the raw columns of item features and of texts, as a catalog
            holds them, missing values at their default. Counts of events are not among them.
        repeated: rows of an id that an earlier row has; they are left out.
    """

    video_id: list[str]
    line: list[int]
    columns: pl.DataFrame
    repeated: int


def read_video_file(path: Path, spec: FeatureSpec, *, flag: str) -> VideoFile:
    """Reads JSON Lines of the raw contract's videos table, plain or `.gz`.

    Args:
        path: of the file.
        spec: what is read of it, and within which bounds.
        flag: that named it, for messages.

    Raises:
        UserError: it cannot be read, holds no video, or a line breaks the contract; the message
            names the line and what is wrong with it.
    """
    table = tables_of(spec)["videos"]
    where = f"--{flag}={path}"
    found = [empty_rows(table)]
    try:
        with path.open("rb") as raw:
            blocks = blocks_of(raw, path.name, where=where)
            for first, lines in chunks_of(blocks, table.max_line_bytes):
                parsed = parse_lines(lines, first, table)
                if len(parsed.dead):
                    line, reason = parsed.dead.sort(LINE).select(LINE, "reason").row(0)
                    told = _told(reason, lines[line - first], table)
                    raise UserError(f"{where}, line {line}: {told}")
                found.append(parsed.rows)
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    every = pl.concat(found)
    if not len(every):
        raise UserError(f"{where}: found no video, expected one a line")
    rows = every.unique(VIDEO_ID, keep="first", maintain_order=True)
    return VideoFile(
        video_id=rows[VIDEO_ID].to_list(),
        line=rows[LINE].to_list(),
        columns=rows.select(as_column(column) for column in _columns(spec)),
        repeated=len(every) - len(rows),
    )


def _columns(spec: FeatureSpec) -> list[Column]:
    """Of what a file of videos can say, all that the item tower or a text encoder asks for."""
    made = {TIMESTAMP, *(column.name for column in spec.statistic_columns)}
    made |= {columns_of(name, text)[0].name for name, text in spec.texts.items()}
    columns = {UPLOAD_TIME: Column(name=UPLOAD_TIME, dtype=DType.INT64)}
    columns |= {c.name: c for c in spec.item_request_columns if c.name not in made}
    columns |= {t.column: Column(name=t.column, dtype=DType.BYTES) for t in spec.texts.values()}
    return list(columns.values())


def _told(reason: str, line: bytes, table: Table) -> str:
    """A reason for a message, with the value that it is about."""
    name = reason.partition(":")[0]
    if name == reason or name not in table.fields:
        return f"{reason}, expected an object of the videos table"
    value = repr(orjson.loads(line.removeprefix(BOM)).get(name))
    return f"{reason}, found {value if len(value) <= _SHOWN else value[:_SHOWN] + '…'}"
