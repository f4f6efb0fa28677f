"""Writes tables where nothing half-written can be taken for whole."""

import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.simulation import LogFormat


@contextmanager
def whole_directory(output: str) -> Iterator[Path]:
    """A new directory that appears at `output` only if the block ends well.

    Raises:
        UserError: `output` exists and is not an empty directory, or cannot be written.
    """
    target = Path(output).absolute()
    if target.exists() and not target.is_dir():
        raise UserError(f"--output: found a file at {output}, expected a directory or nothing")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"--output: found files in {output}, expected an empty directory or none")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_table(table: pa.Table, path: Path, log_format: LogFormat) -> None:
    """Writes one file: `path` with `.parquet` or `.jsonl.gz` appended."""
    if log_format is LogFormat.PARQUET:
        pq.write_table(table, path.with_name(path.name + ".parquet"), compression="zstd")
        return
    # No time in the header: equal tables give equal bytes.
    with (
        open(path.with_name(path.name + ".jsonl.gz"), "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=3, mtime=0) as lines,
    ):
        for row in table.to_pylist():
            present = {name: value for name, value in row.items() if value is not None}
            lines.write(json.dumps(present).encode() + b"\n")


def write_shards(
    shard: Callable[[slice], pa.Table],
    directory: Path,
    *,
    rows: int,
    rows_per_shard: int,
    log_format: LogFormat,
) -> None:
    """Writes a table of many rows as a directory of files, in order.

    Args:
        shard: makes the table of a range of rows; called once for each file.
        directory: to make.
        rows: of the whole table.
        rows_per_shard: at most so many to a file.
        log_format: of the files.
    """
    directory.mkdir()
    count = -(-rows // rows_per_shard)
    for number in range(count):
        table = shard(slice(number * rows_per_shard, min((number + 1) * rows_per_shard, rows)))
        write_table(table, directory / f"part-{number:05d}-of-{count:05d}", log_format)


def names(prefix: str, count: int) -> pa.Array:
    """Ids as strings: `prefix_0`, `prefix_1`, ..."""
    return pa.array([f"{prefix}_{number}" for number in range(count)], pa.string())
