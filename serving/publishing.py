"""Versions on disk: built where no server looks, made visible by one rename."""

import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.errors import UserError
from configs.files import write_json
from serving.version_dirs import LARGEST_VERSION, version_of

REPORT = Path("assets.extra", "export.json")
"""What a version is, and what the gate found; below the version."""
REFUSAL_REPORT = "report.json"
_BUILDING, _CANDIDATE = ".building-", ".candidate-"


def versions(base: Path) -> list[int]:
    """Version numbers below a model's base path, ascending: what directories' names stand for."""
    if not base.is_dir():
        return []
    found = (version_of(path.name) for path in base.iterdir() if path.is_dir())
    return sorted(version for version in found if version is not None)


def version_dir_of(model: Path) -> Path:
    """The version directory that is named, or the newest one below a base path.

    Raises:
        UserError: there is none.
    """
    if version_of(model.name) is not None and model.is_dir():
        return model
    found = {version_of(path.name): path for path in model.glob("*") if path.is_dir()}
    numbers = [version for version in found if version is not None]
    if not numbers:
        raise UserError(f"--model={model}: found no version, expected a model's base path")
    return found[max(numbers)]


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

    So is the base path, if it was made for a version that did not come. Leftovers of builds whose
    process is gone are swept first.

    Raises:
        UserError: nothing can be written there.
    """
    place = base / f"{_BUILDING}{os.getpid()}"
    is_new = not base.exists()
    try:
        base.mkdir(parents=True, exist_ok=True)
        for each in (base, twin_of(base)):
            _sweep(each)
        place.mkdir()
    except OSError as error:
        raise UserError(f"{base}: no version can be written there: {error.strerror}") from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it holds the version that came
                base.rmdir()


def _sweep(base: Path) -> None:
    """Deletes what builds left whose process is gone; another name is none of ours."""
    for left in base.glob(f"{_BUILDING}*"):
        process = left.name.removeprefix(_BUILDING)
        if not (process.isascii() and process.isdecimal()):
            continue
        # In a new container a process may have the number of one that was killed in another.
        if int(process) == os.getpid() or not _alive(int(process)):
            shutil.rmtree(left)


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
        UserError: it has none, so it is none of ours; it is no JSON object; or it does not say what
            is needed, so it was exported by a StreamRec before that was written.
    """
    path = version_dir / REPORT
    if not path.exists():
        raise UserError(f"{version_dir}: found no {REPORT}, expected a version by serving.export")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: found no JSON: {error}") from None
    if not isinstance(report, dict):
        raise UserError(f"{path}: found {type(report).__name__}, expected an object")
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
    if not path.is_dir() or version_of(path.name) is not None:
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
    gate = _word_of_the_gate(place, report)
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


def _word_of_the_gate(place: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    gate = report.get("gate")
    if gate is None:
        raise UserError(f"--candidate={place}: the gate has not seen it, run serving.gate first")
    if not isinstance(gate, dict) or not isinstance(gate.get("problems"), list):
        raise UserError(
            f"{place / REPORT}: gate: found {gate!r}, expected what serving.gate writes; run it"
        )
    return gate


def require_new(base: Path, version: int) -> None:
    """Checks that a version can still be made, and that servers would take it for the newest.

    Raises:
        UserError: it cannot, or they would not.
    """
    live = newest(base)
    lowest = 0 if live is None else live + 1
    if not lowest <= version <= LARGEST_VERSION:
        besides = "" if live is None else f": in {base} the newest is {live}"
        raise UserError(
            f"--version={version}: expected one of {lowest} to {LARGEST_VERSION}{besides}"
        )
    if (target := base / str(version)).exists():
        raise UserError(f"--version={version}: found {target}, expected nothing there")


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
