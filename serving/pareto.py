"""Recall against latency of every setting that an index was tuned over, as JSON and as a plot."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from configs.files import write_json
from serving.tuning import Tuned, Tuning

PARETO_JSON = Path("assets.extra", "pareto.json")
PARETO_PLOT = Path("assets.extra", "pareto.svg")


def pareto_front(tried: Sequence[Tuning]) -> list[Tuning]:
    """The settings that no other beats in recall and p50 both, fastest first."""
    front: list[Tuning] = []
    for each in sorted(tried, key=lambda t: (t.p50_ms, -t.recall)):
        if not front or each.recall > front[-1].recall:
            front.append(each)
    return front


def write_pareto(version_dir: Path, tuned: Tuned, *, target: float) -> None:
    """Writes `pareto.json` and `pareto.svg` below a version's `assets.extra`."""
    front = pareto_front(tuned.tried)
    path = version_dir / PARETO_JSON
    path.parent.mkdir(exist_ok=True)
    found = {
        "recall_target": target,
        "chosen": asdict(tuned.chosen),
        "front": [asdict(each) for each in front],
        "tried": [asdict(each) for each in tuned.tried],
    }
    write_json(path, found)
    _plot(version_dir / PARETO_PLOT, tuned, front, target)


def _plot(path: Path, tuned: Tuned, front: Sequence[Tuning], target: float) -> None:
    from matplotlib.figure import Figure  # without pyplot: no display, no state

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter([t.p50_ms for t in tuned.tried], [t.recall for t in tuned.tried], s=14, c="0.6")
    axes.plot([t.p50_ms for t in front], [t.recall for t in front], "o-", label="p50")
    axes.plot([t.p99_ms for t in front], [t.recall for t in front], "o:", label="p99")
    axes.scatter(
        [tuned.chosen.p50_ms], [tuned.chosen.recall], s=120, facecolors="none", edgecolors="k"
    )
    axes.axhline(target, color="0.4", linewidth=0.8, linestyle="--")
    for each in front:
        axes.annotate(each.setting, (each.p50_ms, each.recall), fontsize=7, rotation=20)
    chosen = tuned.chosen
    axes.set_xlabel("ms for one query")
    axes.set_ylabel(f"recall@{chosen.width}")
    axes.set_title(
        f"{chosen.kind} index over {chosen.num_items:,} items, {chosen.size_bytes / 2**20:.1f} MiB"
        " (circle: chosen, dashes: target)",
        fontsize=9,
    )
    axes.legend(loc="lower right")
    figure.savefig(path, format="svg", metadata={"Date": None})
