"""The counters of a manifest: each event that was read is accounted for."""

from typing import Any

from preprocessing import tally
from preprocessing.labels import SPLITS, Status
from preprocessing.sources import SourceFile

_FILTERED = {
    "repeat": Status.REPEAT,
    "cancelled": Status.CANCELLED,
    "crosses_cut": Status.CROSSES_CUT,
}


def of(summary: dict[str, Any], files: tuple[SourceFile, ...]) -> dict[str, Any]:
    """Puts together what the job's stages counted.

    Args:
        summary: that the job wrote.
        files: that it read.

    Returns:
        `total` and `files`, the counters of events in all and by path; `videos` and `users`, those
        of the other tables; `unknown_user` and `unknown_video`, valid events that name one that
        its table does not have; `quarantined`, the damaged files that were left out, each with what
        is wrong with it.
    """
    by_file = {file.path: _of_events(summary, file) for file in files if file.table == "events"}
    has_users = any(file.table == "users" for file in files)
    return {
        "total": tally.add(by_file.values()),
        "files": by_file,
        "videos": _of_table(summary["tables"]["videos"], summary["duplicate_video"]),
        "users": _of_table(summary["tables"]["users"], summary["duplicate_user"])
        if has_users
        else {},
        "unknown_user": summary["unknown_user"] if has_users else 0,
        "unknown_video": summary["unknown_video"],
        "quarantined": {
            path: damage
            for table in summary["tables"].values()
            for path, damage in sorted(table["quarantined"].items())
        },
    }


def _of_events(summary: dict[str, Any], file: SourceFile) -> dict[str, Any]:
    events, labels = summary["tables"]["events"], summary["labels"]
    read = events["read"][file.path]
    dead = events["dead_letter"][file.path]
    duplicate = labels["duplicate"].get(str(file.index), 0)
    outside = labels.get("outside_window", {}).get(str(file.index), 0)
    status = labels["status"].get(str(file.index), {})
    valid = sum(status.values())
    not_positive = status.get(Status.NOT_POSITIVE.name, 0)
    if read != sum(dead.values()) + duplicate + outside + valid:
        raise AssertionError(
            f"{file.path}: {read} rows read, {dead} dead letters, {duplicate} duplicates, "
            f"{outside} outside the window, {valid} valid"
        )
    return {
        "read": read,
        "dead_letter": dict(sorted(dead.items())),
        "duplicate": duplicate,
        "outside_window": outside,
        "valid": valid,
        "not_positive": not_positive,
        "positive": valid - not_positive,
        "filtered": {name: status.get(s.name, 0) for name, s in _FILTERED.items()},
        "rows": {split: status.get(s.name, 0) for split, s in SPLITS.items()},
    }


def _of_table(table: dict[str, Any], duplicate: int) -> dict[str, Any]:
    dead = tally.add(table["dead_letter"].values())
    read = sum(table["read"].values())
    return {
        "read": read,
        "dead_letter": dict(sorted(dead.items())),
        "duplicate": duplicate,
        "valid": read - sum(dead.values()) - duplicate,
    }
