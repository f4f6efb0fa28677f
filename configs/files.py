"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path beside `path`; what was written there takes its place if the block ends well.

    It is on the disk before it does, and gone if the block fails.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8 in one rename."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Writes a JSON object in one rename; a number that is not finite is a `ValueError`."""
    write_text(path, json.dumps(body, indent=1, allow_nan=False))
