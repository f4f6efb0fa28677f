"""Versions on disk: built where no server looks, made visible by one rename."""

import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.errors import UserError
from configs.files import write_json

REPORT = Path("assets.extra", "export.json")
"""What a version is, and what the gate found; below the version."""
REFUSAL_REPORT = "report.json"
_BUILDING, _CANDIDATE = ".building-", ".candidate-"


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
def building(base: Path) -> Iterator[Path]:
    """A hidden directory beside the versions, gone at the end unless it was given another name.

    Leftovers of builds whose process is gone are swept first.
    """
    base.mkdir(parents=True, exist_ok=True)
    for each in (base, twin_of(base)):
        for left in each.glob(f"{_BUILDING}*"):
            # In a new container a process may have the number of one that was killed in another.
            process = int(left.name.removeprefix(_BUILDING))
            if process == os.getpid() or not _alive(process):
                shutil.rmtree(left)
    place = base / f"{_BUILDING}{os.getpid()}"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def with_twin(place: Path) -> list[Path]:
    """The twin that was built with a version that is not visible yet, if there is one; and it."""
    twin = twin_of(place.parent) / place.name
    return [twin, place] if twin.is_dir() else [place]


def read_report(version_dir: Path, *, needs: Collection[str] = ()) -> dict[str, Any]:
    """The report of a version or candidate.

    Args:
        version_dir: of it.
        needs: what the report must say.

    Raises:
        UserError: it has none, so it is none of ours; or it does not say what is needed, so it was
            exported by a StreamRec before that was written.
    """
    path = version_dir / REPORT
    if not path.exists():
        raise UserError(f"{version_dir}: found no {REPORT}, expected a version by serving.export")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: found no JSON: {error}") from None
    if missing := [name for name in needs if name not in report]:
        raise UserError(
            f"{version_dir}: found no {', '.join(missing)} in its {REPORT}, which an earlier "
            "release wrote; expected a version by serving.export of this one"
        )
    return report


def candidate_of(base: Path, name: str) -> Path:
    """Where a version waits for the gate under a name.

    Raises:
        UserError: the name is none for a directory.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"--candidate: found {name!r}, expected letters, digits, '.', '_' and '-'")
    return base / f"{_CANDIDATE}{name}"


def keep_as_candidate(place: Path, name: str) -> Path:
    """Gives what was built, and its twin, the name of a candidate; an earlier one is replaced."""
    target = candidate_of(place.parent, name)
    for earlier in with_twin(target):
        shutil.rmtree(earlier, ignore_errors=True)
    for each in with_twin(place):
        os.rename(each, candidate_of(each.parent, name))
    return target


def require_candidate(path: Path) -> None:
    """Checks that a path is that of a version that is not visible yet.

    Raises:
        UserError: it is not.
    """
    if not path.is_dir() or path.name.isdigit():
        found = "a version that is visible" if path.is_dir() else "nothing"
        raise UserError(
            f"--candidate={path}: found {found}, expected what serving.export --candidate left"
        )


def publish(place: Path, *, version: int | None = None, force: bool = False) -> dict[str, Any]:
    """Makes what was built, and its twin, the next version; visible in one rename each.

    A second call after one that was killed, or that ended well, gives the same version.

    Args:
        place: a candidate, or a refused version, with the gate's word in its report.
        version: instead of the next one.
        force: publish what the gate refused; the report says so.

    Returns:
        The report of the version.

    Raises:
        UserError: the gate has not passed it, another version went live since it was exported, or
            the version is there already.
    """
    base = place.parent
    if not place.is_dir() and (done := _published_as(base, place.name)) is not None:
        return read_report(base / str(done))
    require_candidate(place)
    report = read_report(place, needs=["beside"])
    gate = report.get("gate")
    if gate is None:
        raise UserError(f"--candidate={place}: the gate has not seen it, run serving.gate first")
    if gate["problems"] and not force:
        raise UserError(
            f"--candidate={place}: the gate refused it: {gate['problems'][0]}; --force publishes "
            "it all the same"
        )
    live = newest(base)
    if report["beside"] != live:
        # It would lack what that version has: videos added, and those that must not come back.
        aside = set_aside(place, report)
        raise UserError(
            f"--candidate={place}: found {_told(live)} live, expected {_told(report['beside'])}, "
            f"as when it was made; it is kept in {aside}: make it anew"
        )
    if version is None:
        version = _version_for(place)
    report |= {"version": version, "candidate": place.name}
    gate["forced"] = force and bool(gate["problems"])
    for each in with_twin(place):
        require_new(each.parent, version)
    for each in with_twin(place):
        write_report(each, report)
        os.rename(each, each.parent / str(version))
    return report


def require_new(base: Path, version: int) -> None:
    """Checks that a version can still be made.

    Raises:
        UserError: it is there already.
    """
    if (target := base / str(version)).exists():
        raise UserError(f"--version: found {target} already there, expected a new version")


def published(base: Path, report: dict[str, Any], console: Console) -> dict[str, Any]:
    """What a command says of a version that is now visible."""
    version = str(report["version"])
    console.print(f"published {base / version}")
    twin = twin_of(base) / version
    return {"model": str(base / version), **report} | ({"twin": str(twin)} if twin.exists() else {})


def write_report(version_dir: Path, report: Mapping[str, Any]) -> None:
    """Writes the report of a version or candidate."""
    write_json(version_dir / REPORT, report)


def newest(base: Path) -> int | None:
    """The newest version; None if there is none."""
    found = versions(base)
    return found[-1] if found else None


def set_aside(place: Path, report: Mapping[str, Any]) -> Path:
    """Keeps a candidate, and its twin, where no server looks, with its report at hand.

    Returns:
        Where it is.
    """
    name = f".refused-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    for each in with_twin(place):
        write_json(each / REFUSAL_REPORT, report)
        os.rename(each, each.parent / name)
    return place.parent / name


def _version_for(place: Path) -> int:
    """The next version; or that of its twin, if a call that was killed has made that visible."""
    base, every = place.parent, with_twin(place)
    half = _published_as(twin_of(base), place.name) if every == [place] else None
    if half is not None and not (base / str(half)).exists():
        return half
    return max(next_version(each.parent) for each in every)


def _published_as(base: Path, candidate: str) -> int | None:
    """The newest version, if it waited for the gate under a name."""
    found = newest(base)
    if found is None or not (base / str(found) / REPORT).exists():
        return None
    is_it = read_report(base / str(found)).get("candidate") == candidate
    return found if is_it and candidate.startswith(_CANDIDATE) else None


def _told(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
