"""Ids of items that no list may hold, kept with each version and handed on to the next."""

import json
from collections.abc import Collection
from pathlib import Path

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
