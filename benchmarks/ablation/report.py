"""A study's files: JSON, Markdown, and a page with plots that needs nothing from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from benchmarks.ablation.results import CHOSEN_BY, COLUMNS, SHOWN, Outcome, follows, table, verdict
from benchmarks.tables import in_markdown
from configs.files import write_json, write_text
from trainer.report.page import templates
from trainer.report.plots import PALETTE, points

_PLOTTED = (*SHOWN, "item_uniformity", "loss_spikes", "cpu_seconds")


def write_outcome(directory: Path, outcome: Outcome) -> Path:
    """Writes the three files, named by study and row; returns the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    base = directory / f"{outcome.study.name}-{outcome.row}"
    write_json(base.with_suffix(".json"), outcome.to_json())
    write_text(base.with_suffix(".md"), markdown(outcome))
    write_text(base.with_suffix(".html"), page(outcome))
    return base.with_suffix(".html")


def budget(outcome: Outcome) -> str:
    """What every run of the study had, in a line."""
    seeds = ", ".join(str(seed) for seed in outcome.seeds)
    return (
        f"Row {outcome.row}: {outcome.epochs} epoch{'s' if outcome.epochs > 1 else ''} of "
        f"{outcome.train_rows:,} train rows in batches of {outcome.batch_size:,}; "
        f"seed{'s' if len(outcome.seeds) > 1 else ''} {seeds}; "
        f"{outcome.queries:,} validation queries over the full catalog."
    )


def claims(outcome: Outcome) -> list[str]:
    """The claim's verdict, a line a metric."""
    if outcome.study.claim is None:
        return []
    told = verdict(outcome, outcome.study.claim)
    lines = []
    for metric, found in told["metrics"].items():
        held = f"{told['ours']} over {told['than']}, {metric} on test, at least {found['at_least']}"
        if "diverged" in found:
            lines.append(f"{held}: not met, a run diverged.")
            continue
        interval = f" [{found['low']:.3f}, {found['high']:.3f}]" if "low" in found else ""
        ratio = "infinite" if found["ratio"] is None else f"{found['ratio']:.3f}"
        lines.append(
            f"{held}: {ratio}{interval} ({found['ours']:.4f} over {found['than']:.4f}), "
            + ("met." if found["met"] else "not met.")
        )
    return lines


def markdown(outcome: Outcome) -> str:
    """Budget, table, claim and what follows."""
    lines = [
        f"### {outcome.study.question}",
        "",
        budget(outcome),
        "",
        *in_markdown(table(outcome)),
        "",
        *(f"- {line}" for line in claims(outcome)),
        *([""] if outcome.study.claim else []),
        " ".join(follows(outcome)),
    ]
    return "\n".join(lines) + "\n"


def page(outcome: Outcome) -> str:
    """The same as a page, with plots."""
    return (
        templates("benchmarks.ablation")
        .get_template("study.html.j2")
        .render(
            palette=PALETTE,
            question=outcome.study.question,
            budget=budget(outcome),
            table=table(outcome),
            best=_best(outcome),
            follows=follows(outcome),
            claims=claims(outcome),
            plots=list(_plots(outcome)),
        )
    )


def _best(outcome: Outcome) -> str | None:
    return max(outcome.finished, key=lambda name: outcome.mean(name, CHOSEN_BY), default=None)


def _plots(outcome: Outcome) -> Iterator[Markup]:
    if not outcome.finished:
        return
    names = list(outcome.runs)
    for column in _PLOTTED:
        values = [outcome.values(name, column) for name in names]
        yield Markup(points(names, values, label=COLUMNS[column]))
