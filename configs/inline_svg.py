"""A plot as SVG that stands inline in a page and takes its text colour from there."""

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour until the SVG is done."""


def ink(axes: Axes, *, tick_size: int) -> None:
    """Gives axes the page's colours, and their labels a size that suits its text.

    Args:
        axes: of a figure without a background.
        tick_size: of the tick labels, in points.
    """
    axes.patch.set_alpha(0.0)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(which="both", colors=INK, labelsize=tick_size)
    for each in (axes.xaxis.label, axes.yaxis.label):
        each.set_color(INK)
        each.set_fontsize(8)


def inline_svg(figure: Figure, *, salt: str) -> str:
    """The figure as one `<svg>` element, the same bytes for the same plot.

    Args:
        figure: to draw.
        salt: of the ids in it, so that those of two pages' plots differ.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    # Metadata name addresses, and a style would apply to the whole of the page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # the same in each plot, and nothing refers to them
    return svg.replace(INK, "currentColor").strip()
