"""Ids of items that no list may hold, kept with each version and handed on to the next."""

import json
from collections.abc import Collection
from pathlib import Path

from configs.errors import UserError

_FILE = Path("assets.extra", "removed_items.json")


def read_removed(version_dir: Path) -> set[str]:
    """The removed ids of a version; of one without the file, none."""
    path = version_dir / _FILE
    return set(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else set()


def write_removed(version_dir: Path, removed: Collection[str]) -> None:
    """Writes the removed ids of a version."""
    path = version_dir / _FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(sorted(removed), ensure_ascii=False), encoding="utf-8")


def read_ids(path: Path) -> list[str]:
    r"""The ids that `--remove` names: lines that are not blank; only `\n` and `\r\n` end one.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--remove={path}: cannot be read: {error}") from None
    ids = [line for line in (each.removesuffix("\r") for each in text.split("\n")) if line.strip()]
    if not ids:
        raise UserError(f"--remove={path}: found no id, expected one a line")
    return ids
