"""What stands on the page of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from configs.evaluation import HEADLINE, METRICS
from configs.files import write_text
from trainer.report.curves import Curve
from trainer.report.plots import PALETTE, curve, metric_at_k, slice_bars

_ITEM_COSINE = "train/item_cosine"
_MONITORS = {_ITEM_COSINE: "mean cosine of random items", "train/temperature": "temperature"}
_LONG = 100


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    curves: Mapping[str, Curve],
    *,
    max_item_cosine: float,
) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: of the file.
        metrics: what `metrics.json` holds (docs/evaluation.md).
        curves: of training, by TensorBoard tag; may be empty.
        max_item_cosine: the mean cosine of items above which a model has collapsed.
    """
    write_text(path, render(metrics, curves, max_item_cosine=max_item_cosine))


def render(
    metrics: Mapping[str, Any], curves: Mapping[str, Curve], *, max_item_cosine: float
) -> str:
    """The page; every text in it is escaped, and it asks for nothing from elsewhere."""
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            metrics=metrics,
            neighbours=metrics.get("neighbours"),
            tuning=metrics.get("tuning"),
            palette=PALETTE,
            views={name: _view(found) for name, found in metrics["protocols"].items()},
            training=list(_training(curves)),
            monitors=list(_monitors(curves, max_item_cosine)),
        )
    )


def templates(*packages: str) -> Environment:
    """Jinja's environment with the filters and the style of our pages.

    Args:
        packages: whose templates are looked up first.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, "") for name in (*packages, "trainer.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,.0f}"
    environment.filters["share"] = lambda number: f"{100 * number:.1f} %"
    environment.filters["figure"] = lambda number: f"{number:.4f}"
    environment.filters["signed"] = lambda number: f"{number:+.4f}"
    return environment


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a protocol's tables and plots show: metrics in columns, and the best of each."""
    ks = sorted({_cut_off(name) for values in found["models"].values() for name in values})
    headline = [ks[0], _headline_cut_off(ks)]
    names = [f"{metric}@{k}" for metric in METRICS for k in dict.fromkeys(headline)]
    every = [[*(f"{metric}@{k}" for metric in METRICS), f"Coverage@{k}"] for k in ks]
    return {
        "names": [*names, f"Coverage@{headline[1]}"],
        "compared": names,
        "every": every,
        "best": {
            name: max(values.get(name, 0.0) for values in found["models"].values())
            for row in every
            for name in row
        },
        "at_k": Markup(metric_at_k(found["models"])),
        "slices": list(_slices(found)),
    }


def _cut_off(metric: str) -> int:
    return int(metric.split("@")[1])


def _headline_cut_off(ks: Sequence[int]) -> int:
    """The longest list of at most a hundred, the length that an export answers with."""
    return max([k for k in ks if k <= _LONG], default=ks[-1])


def _slices(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Recall at about a hundred in each slice, by group and model."""
    ours = next(iter(found["slices"].values()))
    for name, groups in ours.items():
        some = next(iter(groups.values()))
        cut_offs = [_cut_off(metric) for metric in some if metric.startswith("Recall@")]
        metric = f"Recall@{_headline_cut_off(cut_offs)}"
        values = {
            model: [by_slice[name].get(group, {}).get(metric) for group in groups]
            for model, by_slice in found["slices"].items()
        }
        yield {
            "name": name,
            "metric": metric,
            "groups": groups,
            "values": values,
            "plot": Markup(slice_bars(list(groups), values)),
        }


def _training(curves: Mapping[str, Curve]) -> Iterator[Markup]:
    for tag, points in curves.items():
        group, _, rest = tag.partition("/")
        shown = group == "train" or rest.split("/")[-1] in HEADLINE
        if shown and tag not in _MONITORS and points:
            label = rest.replace("_", " ") if group == "train" else tag.replace("/", " ")
            yield Markup(curve(points, label=label))


def _monitors(curves: Mapping[str, Curve], max_item_cosine: float) -> Iterator[Markup]:
    for tag, title in _MONITORS.items():
        if curves.get(tag):
            bound = max_item_cosine if tag == _ITEM_COSINE else None
            yield Markup(curve(curves[tag], label=title, bound=bound))
