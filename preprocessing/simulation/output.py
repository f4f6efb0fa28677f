"""Writes tables where nothing half-written can be taken for whole."""

import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.simulation import LogFormat


@contextmanager
def whole_directory(output: str) -> Iterator[Path]:
    """A new directory that appears at `output` only if the block ends well.

    Raises:
        UserError: `output` exists and is not an empty directory, or cannot be made.
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
        partial.chmod(0o755)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Writes one JSON object, indented."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
