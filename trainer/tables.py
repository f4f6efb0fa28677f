"""An evaluation as tables for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.evaluation import MODEL

SHOWN = ("HR", "Recall", "NDCG", "MRR")


def print_tables(
    metrics: dict[str, Any], console: Console, *, ks: Sequence[int] = (10, 100)
) -> None:
    """One table a protocol: models down, metrics across, the best of each in bold.

    Where differences were measured, a metric of another model that differs from ours by more than
    chance (95 % interval of the paired difference) is marked: ▲ ours is better, ▽ the other.
    """
    for protocol, found in metrics["protocols"].items():
        names = shown_metrics(found, ks)
        table = Table(title=_title(protocol, found, metrics["split"]), caption=_caption(found))
        table.add_column("model")
        for name in names:
            table.add_column(name, justify="right")
        best = {n: max(m[n] for m in found["models"].values() if n in m) for n in names}
        for model, values in found["models"].items():
            cells = []
            for name in names:
                cell = f"{values[name]:.4f}" if name in values else ""
                style = "bold" if values.get(name) == best[name] else ""
                cells.append(Text.assemble((cell, style), verdict(found, model, name)))
            table.add_row(model, *cells)
        console.print(table)


def shown_metrics(found: dict[str, Any], ks: Sequence[int]) -> list[str]:
    """The columns of a protocol's table: what any model has at these list lengths."""
    known = {name for values in found["models"].values() for name in values}
    names = [f"{m}@{k}" for m in SHOWN for k in ks] + [f"Coverage@{max(ks)}"]
    return [name for name in names if name in known]


def verdict(found: dict[str, Any], model: str, metric: str) -> str:
    """▲ where our model is better than another by more than chance, ▽ where it is worse."""
    difference = found.get("differences", {}).get(model, {}).get(metric)
    if model == MODEL or difference is None:
        return ""
    return " ▲" if difference["low"] > 0 else " ▽" if difference["high"] < 0 else "  "


def _title(protocol: str, found: dict[str, Any], split: str) -> str:
    return (
        f"{protocol}: {found['queries']:,} queries of {found['users']:,} users on the {split} "
        f"split, {100 * found['lost_share']:.1f} % of relevant items no candidates"
    )


def _caption(found: dict[str, Any]) -> str | None:
    if not found.get("differences"):
        return None
    return f"▲ {MODEL} is better, ▽ worse: the paired difference's 95 % interval is without 0"
