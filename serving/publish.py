"""Versions on disk: built where no server looks, made visible by one rename."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError


def versions(base: Path) -> list[int]:
    """Version numbers below a model's base path, ascending: directories named by an integer."""
    if not base.is_dir():
        return []
    return sorted(int(p.name) for p in base.iterdir() if p.is_dir() and p.name.isdigit())


def version_dir_of(model: Path) -> Path:
    """The version directory that is named, or the newest one below a base path.

    Raises:
        UserError: there is none.
    """
    if model.name.isdigit() and model.is_dir():
        return model
    found = [p for p in model.glob("*") if p.is_dir() and p.name.isdigit()]
    if not found:
        raise UserError(f"--model={model}: found no version, expected a model's base path")
    return max(found, key=lambda p: int(p.name))


def next_version(base: Path) -> int:
    """One more than the newest version, 1 for the first."""
    found = versions(base)
    return found[-1] + 1 if found else 1


def twin_of(base: Path) -> Path:
    """Base path of the versions without custom operations that belong to those below `base`."""
    return base.with_name(f"{base.name}_twin")


@contextmanager
def building(base: Path, version: int) -> Iterator[Path]:
    """A hidden directory beside the versions that becomes `base/version` if all goes well.

    Leftovers of builds whose process is gone are swept first.

    Raises:
        UserError: the version is there already.
    """
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(".building-*"):
        if not _alive(int(left.name.rsplit("-", 1)[1])):
            shutil.rmtree(left)
    place = base / f".building-{version}-{os.getpid()}"
    place.mkdir()
    try:
        yield place
        target = base / str(version)
        if target.exists():
            raise UserError(f"--version: found {target} already there, expected a new version")
        os.rename(place, target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
