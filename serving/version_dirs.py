"""Which versions of a model are on disk.

Nothing here knows TensorFlow: a mistake is refused before it is imported.
"""

import os
from pathlib import Path

from configs.errors import UserError

LARGEST_VERSION = 2**63 - 1
"""`ModelSpec.version` is an int64."""


def version_of(name: str) -> int | None:
    """The version that a directory's name stands for; None if it stands for none.

    A version's name is a non-negative decimal integer that fits an int64; leading zeros do not
    count.
    """
    if not (name.isascii() and name.isdecimal()):
        return None
    version = int(name)
    return version if version <= LARGEST_VERSION else None


def find_versions(base_path: Path, *, only: int | None = None) -> dict[int, Path]:
    """The servable version directories under `base_path`, newest first; or `only` one of them.

    Names that stand for no version (`version_of`) are ignored, and so is a directory that lacks
    `saved_model.pb` or `variables/`, as one that is still being copied does. A missing base path
    has none.
    """
    try:
        children = sorted(base_path.iterdir())
    except FileNotFoundError:
        return {}
    versions: dict[int, Path] = {}
    for child in children:
        version = version_of(child.name)
        if version is None:
            continue
        # Of os.path, because these answer False where a directory may not be read.
        is_complete = os.path.isfile(child / "saved_model.pb") and os.path.isdir(
            child / "variables"
        )
        if is_complete and only in (None, version):
            versions.setdefault(version, child)
    return dict(sorted(versions.items(), reverse=True))


def require_version(base_path: Path, *, only: int | None = None) -> None:
    """Checks that there is something to serve.

    Args:
        base_path: the directory of version directories.
        only: the one version that will do; None: any.

    Raises:
        UserError: there is not.
    """
    try:
        if find_versions(base_path, only=only):
            return
    except OSError as error:
        raise UserError(f"--model_base_path: {error}") from error
    if only is not None and (others := find_versions(base_path)):
        raise UserError(
            f"--version={only}: found versions {', '.join(map(str, others))} in {base_path}"
        )
    raise UserError(
        f"--model_base_path: {base_path}: found no version to serve, expected a directory named"
        " by an integer with saved_model.pb and variables/"
        if base_path.is_dir()
        else f"--model_base_path: {base_path}: found no such directory"
    )


def fingerprint(directory: Path) -> frozenset[tuple[str, int, int]]:
    """Name, size and modification time of every file: changes when the directory does."""
    entries = set()
    for root, _, names in os.walk(directory):
        for name in names:
            file = os.path.join(root, name)
            stat = os.stat(file)
            entries.add((file, stat.st_size, stat.st_mtime_ns))
    return frozenset(entries)
