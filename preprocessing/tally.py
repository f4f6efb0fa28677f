"""Counts that travel through the pipeline: sums of nested dicts, and an example of each reason."""

from collections.abc import Iterable
from typing import Any

from configs.errors import UserError
from preprocessing.parsing import Parsed
from preprocessing.sources import SourceFile

Tally = dict[Any, Any]
_EXAMPLES = "examples"
_EXAMPLE_CHARS = 120


def add(tallies: Iterable[Tally]) -> Tally:
    """The sum of several: numbers are added, below `examples` the first by (file, line) stays."""
    total: Tally = {}
    for tally in tallies:
        _add_into(total, tally, keep_least=False)
    return total


def _add_into(total: Tally, tally: Tally, *, keep_least: bool) -> None:
    for key, value in tally.items():
        if isinstance(value, dict):
            _add_into(total.setdefault(key, {}), value, keep_least=keep_least or key == _EXAMPLES)
        elif key not in total:
            total[key] = value
        else:
            total[key] = min(total[key], value) if keep_least else total[key] + value


def of_file(file: SourceFile) -> Tally:
    """What a file adds before anything of it is read."""
    return {
        file.table: {
            "read": {file.path: 0},
            "dead_letter": {file.path: {}},
            _EXAMPLES: {},
            "present": {},
            "quarantined": {},
        }
    }


def of_quarantined(file: SourceFile, damage: str) -> Tally:
    """What a file adds that is not read."""
    return {file.table: {"quarantined": {file.path: damage}}}


def of_chunk(file: SourceFile, parsed: Parsed) -> Tally:
    """What a chunk of a file adds: rows read, dead letters by reason, columns that it has."""
    reasons = parsed.dead["reason"].value_counts().rows()
    examples = parsed.dead.sort("line").unique("reason", keep="first", maintain_order=True)
    return {
        file.table: {
            "read": {file.path: len(parsed.rows) + len(parsed.dead)},
            "dead_letter": {file.path: dict(reasons)},
            _EXAMPLES: {
                row["reason"]: [file.path, row["line"], row["raw"][:_EXAMPLE_CHARS]]
                for row in examples.to_dicts()
            },
            "present": dict.fromkeys(parsed.present, 1),
        }
    }


def check_readable(table: str, tally: Tally, max_bad_fraction: float) -> None:
    """Refuses a table with no rows or too many malformed ones.

    Raises:
        UserError: with the three most common reasons and an example of each.
    """
    found = tally[table]
    read = sum(found["read"].values())
    if read == 0:
        damage = "".join(f"; {each}" for each in sorted(found["quarantined"].values()))
        raise UserError(f"--{table}: found no rows, expected at least one{damage}")
    reasons: dict[str, int] = add([{"sum": r} for r in found["dead_letter"].values()])["sum"]
    bad = sum(reasons.values())
    if bad <= max_bad_fraction * read and bad < read:
        return
    common = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:3]
    examples = [
        f"{reason} ({count}x, as {path} line {line}: {raw})"
        for reason, count in common
        for path, line, raw in [found[_EXAMPLES][reason]]
    ]
    raise UserError(
        f"--{table}: {bad} of {read} rows are malformed, expected at most "
        f"{max_bad_fraction:.2%} (data.max_bad_fraction): " + "; ".join(examples)
    )
