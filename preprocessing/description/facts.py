"""What is said in words of a column over a set of rows, on the page and in the terminal."""

import datetime

import numpy as np

from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.description.columns import Described, Shown
from preprocessing.description.statistics import Summary
from preprocessing.manifest import Manifest

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_QUANTILES = (("1 %", 0.01), ("median", 0.5), ("99 %", 0.99))


def origin_of(manifest: Manifest) -> list[str]:
    """What part of the log a dataset was made of, and which it continues, where that is not all."""
    said = []
    if manifest.window_days:
        said.append(f"Of the last {manifest.window_days} days of the log (--window_days)")
    if manifest.previous:
        said.append(f"Continues the ids of assets {manifest.previous[:12]} (--previous)")
    return said


def facts_of(described: Described, summary: Summary) -> list[tuple[str, str]]:
    """Three facts, each with a heading: what can be said of values of this kind.

    Of categories how many there are, of a time of day or week when most and fewest rows are (its
    quantiles would depend on where a day begins), of all others quantiles.
    """
    match described.shown:
        case Shown.CATEGORY:
            assert summary.categories is not None
            length = summary.mean_length
            return [
                ("values", f"{summary.values:,}"),
                ("distinct", f"{len(summary.categories):,}"),
                ("", "") if length is None else ("mean length", f"{length:.1f}"),
            ]
        case Shown.HOUR | Shown.WEEKDAY:
            return _of_cycle(described.shown, summary)
    values = summary.quantiles(tuple(share for _, share in _QUANTILES))
    short = elapsed if described.shown in (Shown.ELAPSED, Shown.DELAY) else number
    said = [short(value) for value in values] or ["–"] * len(_QUANTILES)
    return [(heading, text) for (heading, _), text in zip(_QUANTILES, said, strict=True)]


def meaning_of(described: Described) -> str:
    """What the numbers are, where that is not plain; empty for plain numbers and categories."""
    if described.shown in (Shown.CATEGORY, Shown.NUMBER):
        return described.unit.name
    return described.shown.value


def sentence(described: Described, summary: Summary) -> str:
    """The facts in one cell of a table; empty for categories, and where there is no value."""
    if described.is_category or not summary.values:
        return ""
    facts = facts_of(described, summary)
    if described.shown in (Shown.HOUR, Shown.WEEKDAY):
        return ", ".join(f"{heading} {text}" for heading, text in facts if heading)
    said = " / ".join(text for _, text in facts)
    # Times have their units by themselves.
    return f"{said} {meaning_of(described).removeprefix('time ')}".rstrip()


def cycle_edges(shown: Shown) -> np.ndarray:
    """Edges of the hours of a day, or of the days of a week."""
    return np.arange(25.0 if shown is Shown.HOUR else 8.0)


def _of_cycle(shown: Shown, summary: Summary) -> list[tuple[str, str]]:
    if summary.numbers is None or not len(summary.numbers):
        return [("most", "–"), ("fewest", "–"), ("", "")]
    shares = np.histogram(summary.numbers, cycle_edges(shown))[0] / len(summary.numbers)
    most, fewest = (
        f"{WEEKDAYS[at] if shown is Shown.WEEKDAY else f'{at}–{at + 1} h'}: {shares[at]:.1%}"
        for at in (int(np.argmax(shares)), int(np.argmin(shares)))
    )
    return [("most", most), ("fewest", fewest), ("", "")]


def number(value: float) -> str:
    """A number of some feature, short."""
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"


def elapsed(days: float) -> str:
    """A length of time, short."""
    for unit, seconds in (("d", SECONDS_PER_DAY), ("h", 3_600), ("min", 60)):
        if abs(days) * SECONDS_PER_DAY >= seconds:
            return f"{number(days * SECONDS_PER_DAY / seconds)} {unit}"
    return f"{number(round(days * SECONDS_PER_DAY))} s"


def utc(seconds: int) -> str:
    """UTC seconds as a date and time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
