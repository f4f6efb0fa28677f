"""Plots as SVG that stands inline in a page and takes its text colour from there.

No text of a log ever enters one: categories are drawn by the page itself.
"""

import datetime
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from configs.inline_svg import ink, inline_svg
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.description.columns import Described, Shown
from preprocessing.description.facts import WEEKDAYS, cycle_edges, meaning_of
from preprocessing.description.positives import SPLITS, Positives
from preprocessing.description.statistics import Summary

COLORS = {
    "train": "#3b82c4",
    "test": "#e0782f",
    "validation": "#8f8f4d",
    "other": "#9a6fb0",
}
_TAIL = 0.005
_MAX_DAYS = 180  # longer logs have bars of several days
_UNITS = (
    ("days", SECONDS_PER_DAY),
    ("hours", 3_600),
    ("minutes", 60),
    ("seconds", 1),
)
_EPOCH = datetime.date(1970, 1, 1)


def histogram(summaries: Sequence[tuple[str, Summary]], described: Described, *, bins: int) -> str:
    """Numbers of several sets of rows over one axis, as shares of each set's values.

    Args:
        summaries: name (of `COLORS`) and summary, the first filled; those without values are left
            out.
        described: the column. Times before the row are drawn in the unit that fits them, times of
            day or week by the hour or the day.
        bins: of all others: at most so many; of whole numbers each holds equally many. What is
            beyond the 0.5 % and 99.5 % quantiles stands in the first and the last.

    Returns:
        An `svg` element; empty if there is no value.
    """
    drawn = [(name, s.numbers) for name, s in summaries if s.numbers is not None and len(s.numbers)]
    if not drawn:
        return ""
    if described.shown in (Shown.HOUR, Shown.WEEKDAY):
        return _cycle(drawn, described.shown)
    low, high = _range(drawn)
    label = meaning_of(described)
    if described.shown in (Shown.ELAPSED, Shown.DELAY):
        unit, seconds = _unit(max(abs(low), abs(high)))
        drawn = [(name, values * SECONDS_PER_DAY / seconds) for name, values in drawn]
        (low, high), label = _range(drawn), label.replace("time", unit)
    whole = all(np.array_equal(values, np.round(values)) for _, values in drawn)
    logarithmic = _is_long_tailed(drawn[0][1], low, high) and not (whole and high - low < bins)
    if logarithmic:
        edges = np.linspace(np.log1p(low), np.log1p(high), bins + 1)
        if whole:  # Each bin about one whole number at least, or most would be empty.
            edges = np.log1p(np.append(np.unique(np.round(np.expm1(edges))) - 0.5, high + 0.5))
    elif whole:  # Bins that hold differently many whole numbers would draw a comb.
        step = np.ceil((high - low + 1) / bins)
        edges = np.arange(low - 0.5, high + step, step)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    figure, axes = _figure(width=3.6, height=1.35)
    for place, (name, values) in enumerate(drawn):
        clipped = np.clip(values, low, high)
        x = np.log1p(clipped) if logarithmic else clipped
        _stairs(axes, np.histogram(x, edges)[0] / len(values), edges, name, is_filled=place == 0)
    if logarithmic:
        _log1p_ticks(axes, low, high)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    return _shares(figure, axes, label)


def _cycle(drawn: Sequence[tuple[str, npt.NDArray[np.float64]]], shown: Shown) -> str:
    edges = cycle_edges(shown)
    figure, axes = _figure(width=3.6, height=1.35)
    for place, (name, values) in enumerate(drawn):
        shares = np.histogram(values, edges)[0] / len(values)
        _stairs(axes, shares, edges, name, is_filled=place == 0)
    if shown is Shown.WEEKDAY:
        axes.set_xticks(edges[:-1] + 0.5, WEEKDAYS)
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xticks(edges[::6])
    axes.set_ylim(bottom=0.0)
    return _shares(figure, axes, shown.value)


def _stairs(
    axes: Axes,
    shares: npt.NDArray[np.float64],
    edges: npt.NDArray[np.float64],
    name: str,
    *,
    is_filled: bool,
) -> None:
    if is_filled:
        axes.stairs(shares, edges, fill=True, color=COLORS[name], alpha=0.55)
    else:
        axes.stairs(shares, edges, color=COLORS[name], linewidth=1.3)


def _shares(figure: Figure, axes: Axes, label: str) -> str:
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.set_xlabel(label)
    return inline_svg(figure, salt="describe")


def _unit(days: float) -> tuple[str, int]:
    fitting = (unit for unit in _UNITS if days * SECONDS_PER_DAY >= 2 * unit[1])
    return next(fitting, _UNITS[-1])


def _range(drawn: Sequence[tuple[str, npt.NDArray[np.float64]]]) -> tuple[float, float]:
    return (
        min(float(np.quantile(values, _TAIL, method="nearest")) for _, values in drawn),
        max(float(np.quantile(values, 1 - _TAIL, method="nearest")) for _, values in drawn),
    )


def _is_long_tailed(values: npt.NDArray[np.float64], low: float, high: float) -> bool:
    median = float(np.median(values))
    return low >= 0.0 and high > 20.0 * (median + 1.0)


def _log1p_ticks(axes: Axes, low: float, high: float) -> None:
    ticks = [0.0, *(10.0**power for power in range(12))]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks([float(np.log1p(tick)) for tick in shown], [f"{tick:,.0f}" for tick in shown])


def popularity(described: Sequence[tuple[str, Positives]]) -> str:
    """Train rows of each item by its rank, both axes logarithmic."""
    figure, axes = _figure(width=5.2, height=2.6)
    for name, positives in described:
        counts = positives.popularity
        if len(counts):
            # A curve of a million points draws no better than one of a few hundred.
            ranks = np.unique(np.geomspace(1, len(counts), 400).astype(np.int64))
            axes.plot(ranks, counts[ranks - 1], color=COLORS[name], linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank of the item")
    axes.set_ylabel("train rows")
    return inline_svg(figure, salt="describe")


def labels_by_day(positives: Positives) -> str:
    """Labels of each UTC day, by split, one on the other."""
    figure, axes = _figure(width=5.2, height=2.6)
    by_day = positives.by_day
    if len(by_day):
        days = by_day["day"].to_numpy()
        first, last = int(days.min()), int(days.max())
        bars = min(last - first + 1, _MAX_DAYS)
        edges = np.linspace(first, last + 1, bars + 1)
        base = np.zeros(bars)
        for split in SPLITS:
            of_split = by_day.filter(pl.col("split") == split)
            rows = np.histogram(of_split["day"], edges, weights=of_split["rows"])[0]
            axes.stairs(base + rows, edges, baseline=base, fill=True, color=COLORS[split])
            base = base + rows
        ticks = np.unique(np.linspace(first, last, 5).astype(np.int64))
        dates = [_EPOCH + datetime.timedelta(days=int(tick)) for tick in ticks]
        axes.set_xticks(ticks + 0.5, [date.isoformat() for date in dates])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("labels")
    return inline_svg(figure, salt="describe")


def _figure(*, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    ink(axes, tick_size=8)
    return figure, axes
