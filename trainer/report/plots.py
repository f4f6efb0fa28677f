"""Plots as SVG that stands inline in a page and takes its text colour from there."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from configs.evaluation import METRICS
from configs.inline_svg import INK, ink, inline_svg
from trainer.report.curves import Curve

PALETTE = (
    "#e0782f",
    "#3b82c4",
    "#8f8f4d",
    "#9a6fb0",
    "#3a9c7a",
    "#c4504b",
    "#6b7f94",
    "#b8892b",
    "#4aa3b8",
    "#8a6d5a",
)
"""Colours of the models, ours first."""


def metric_at_k(models: Mapping[str, Mapping[str, float]]) -> str:
    """Each metric over the list length, a line a model: one SVG with a panel a metric."""
    figure = _figure(width=11.0, height=2.4)
    panels = figure.subplots(1, len(METRICS))
    for axes, metric in zip(panels, METRICS, strict=True):
        ink(axes, tick_size=7)
        for color, values in zip(_colors(len(models)), models.values(), strict=True):
            points = sorted(
                (int(name.split("@")[1]), value)
                for name, value in values.items()
                if name.startswith(f"{metric}@")
            )
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1.4, marker=".")
        axes.set_xscale("log")
        ks = sorted({int(n.split("@")[1]) for v in models.values() for n in v})
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_title(f"{metric}@k", fontsize=9, color=INK)
    return inline_svg(figure, salt="evaluate")


def slice_bars(groups: Sequence[str], values: Mapping[str, Sequence[float | None]]) -> str:
    """One metric by group, a bar a model: groups across, None where a group is empty."""
    figure = _figure(width=5.2, height=2.2)
    axes = figure.subplots()
    ink(axes, tick_size=7)
    width = 0.8 / max(len(values), 1)
    for place, (color, bars) in enumerate(zip(_colors(len(values)), values.values(), strict=True)):
        at = [i - 0.4 + (place + 0.5) * width for i in range(len(groups))]
        axes.bar(at, [bar or 0.0 for bar in bars], width=width, color=color)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return inline_svg(figure, salt="evaluate")


def points(names: Sequence[str], values: Sequence[Sequence[float]], *, label: str) -> str:
    """A value by setting: each run a dot, a line through the means; empty where there was none."""
    figure = _figure(width=3.6, height=2.0)
    axes = figure.subplots()
    ink(axes, tick_size=7)
    there = [(place, found) for place, found in enumerate(values) if found]
    for place, found in there:
        axes.plot([place] * len(found), found, ".", color=PALETTE[1], markersize=4)
    means = [(place, sum(found) / len(found)) for place, found in there]
    axes.plot(*zip(*means, strict=True), color=PALETTE[0], linewidth=1.3, marker="_")
    axes.set_xticks(range(len(names)), list(names), rotation=30, ha="right")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(label, fontsize=9, color=INK)
    return inline_svg(figure, salt="evaluate")


def curve(points: Curve, *, label: str, bound: float | None = None) -> str:
    """A value over steps; with a bound, a dashed line that it must not cross."""
    figure = _figure(width=3.6, height=1.7)
    axes = figure.subplots()
    ink(axes, tick_size=7)
    axes.plot(*zip(*points, strict=True), color=PALETTE[0], linewidth=1.3, marker=_marker(points))
    if bound is not None:
        axes.axhline(bound, color=PALETTE[5], linewidth=1.0, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("step")
    axes.set_title(label, fontsize=9, color=INK)
    return inline_svg(figure, salt="evaluate")


def _marker(points: Curve) -> str:
    return "." if len(points) < 20 else ""


def _colors(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _figure(*, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure
