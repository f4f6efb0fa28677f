"""The files of a table: which they are, and their lines or rows in chunks."""

import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from configs.errors import UserError
from preprocessing.lines import blocks_of, chunks_of, is_gzip

_PARQUET = (".parquet",)
_JSON_LINES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
_CHUNK_ROWS = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a table.

    Attributes:
        table: `events`, `videos` or `users`.
        path: as it is opened.
        index: its place among the table's files in name order.
    """

    table: str
    path: str
    index: int

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet; else it is JSON Lines."""
        return self.path.endswith(_PARQUET)


def list_files(table: str, where: str) -> tuple[SourceFile, ...]:
    """The files of a table in name order.

    Args:
        table: its name, which is also that of its flag.
        where: a file, a directory (all its files, below it too, but for those that start with '.'
            or '_') or a glob.

    Raises:
        UserError: nothing is there, or a file is of another kind.
    """
    try:
        if _is_directory(where):
            found = _match(where.rstrip("/") + "/**")
        elif FileSystems.exists(where):
            found = [where]
        else:
            found = _match(where)
    except (BeamIOError, ValueError, OSError) as error:
        raise UserError(f"--{table}: {where} cannot be listed: {error}") from None
    paths = sorted(path for path in found if posixpath.basename(path)[:1] not in ("", ".", "_"))
    expected = "a file, a directory or a glob of " + ", ".join(_PARQUET + _JSON_LINES)
    if not paths:
        raise UserError(f"--{table}: found no file at {where}, expected {expected}")
    for path in paths:
        if not path.endswith(_PARQUET + _JSON_LINES):
            raise UserError(f"--{table}: found {path}, expected {expected}")
    return tuple(SourceFile(table=table, path=path, index=i) for i, path in enumerate(paths))


def _is_directory(where: str) -> bool:
    try:
        system = FileSystems.get_filesystem(where)
        return bool(system.has_dirs() and system.exists(where.rstrip("/") + "/."))
    except (BeamIOError, NotADirectoryError):
        return False


def _match(pattern: str) -> list[str]:
    return [found.path for found in FileSystems.match([pattern])[0].metadata_list]


def _open(path: str) -> BinaryIO:
    raw = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return cast(BinaryIO, raw)


def read_lines(file: SourceFile, max_line_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    """Chunks of a JSON Lines file, as `preprocessing.lines.chunks_of`.

    Raises:
        UserError: a gzip file is cut or damaged.
    """
    return chunks_of(_blocks(file), max_line_bytes)


def _blocks(file: SourceFile) -> Iterator[bytes]:
    with _open(file.path) as raw:
        yield from blocks_of(raw, file.path, where=f"--{file.table}: {file.path}")


def damage_of(file: SourceFile) -> str:
    """What is wrong with a gzip or Parquet file, read to its end; '' for a whole one."""
    try:
        if file.is_parquet:
            for _ in read_batches(file, read_schema(file).names):
                pass
        elif is_gzip(file.path):
            for _ in _blocks(file):
                pass
    except UserError as error:
        return str(error)
    return ""


def read_schema(file: SourceFile) -> pa.Schema:
    """The schema of a Parquet file.

    Raises:
        UserError: it is no Parquet file.
    """
    with _open(file.path) as raw:
        return _parquet(file, raw).schema_arrow


def read_batches(file: SourceFile, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Chunks of a Parquet file: the number of the first row, from 1, and the rows.

    Raises:
        UserError: the file is damaged.
    """
    with _open(file.path) as raw:
        parquet = _parquet(file, raw)
        number = 1
        try:
            for batch in parquet.iter_batches(_CHUNK_ROWS, columns=columns):
                yield number, pa.Table.from_batches([batch])
                number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, error) from None


def _parquet(file: SourceFile, raw: BinaryIO) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(raw if raw.seekable() else io.BytesIO(raw.read()))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: SourceFile, error: Exception) -> UserError:
    return UserError(
        f"--{file.table}: {file.path} cannot be read: {error}, expected a whole Parquet file"
    )
