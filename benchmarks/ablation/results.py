"""What the runs of a study say together: a table, a verdict on its claim, and what follows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.ablation.studies import Claim, Study
from benchmarks.quality import over_runs

CHOSEN_BY = "Recall@100"
SHOWN = ("HR@10", "NDCG@10", "Recall@100")
COLUMNS = {
    **{name: f"{name} (validation)" for name in SHOWN},
    "item_uniformity": "uniformity of items",
    "loss_spikes": "loss spikes",
    "steps": "steps",
    "cpu_seconds": "CPU seconds",
    "seconds": "seconds",
}
_DECIMALS = {**dict.fromkeys(SHOWN, 4), "item_uniformity": 2}
_WORTH_SAVING = 0.15  # of CPU seconds; less is the noise of a machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A study on one row.

    Attributes:
        study: which.
        row: name of the row of quality.
        epochs: of every run.
        batch_size: of runs whose setting names none.
        train_rows: in each epoch.
        queries: on the validation split.
        seeds: of the runs.
        runs: by setting, a row of `train_once` for each seed.
    """

    study: Study
    row: str
    epochs: int
    batch_size: int
    train_rows: int
    queries: int
    seeds: Sequence[int]
    runs: Mapping[str, Sequence[Mapping[str, Any]]]

    def values(self, setting: str, column: str, *, split: str = "validation") -> list[float]:
        """A column's values over the seeds whose run did not diverge."""
        finished = [run for run in self.runs[setting] if "diverged" not in run]
        return [float((run[split] if "@" in column else run)[column]) for run in finished]

    def mean(self, setting: str, column: str) -> float:
        """Their mean; NaN where every run diverged."""
        values = self.values(setting, column)
        return float(np.mean(values)) if values else math.nan

    @property
    def finished(self) -> list[str]:
        """Settings of which some run did not diverge."""
        return [name for name in self.runs if self.values(name, "steps")]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        told = {
            "study": self.study.name,
            "question": self.study.question,
            "row": self.row,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "train_rows": self.train_rows,
            "queries": self.queries,
            "seeds": list(self.seeds),
            "runs": {name: list(runs) for name, runs in self.runs.items()},
            "follows": follows(self),
        }
        return told | ({"claim": verdict(self, self.study.claim)} if self.study.claim else {})


def table(outcome: Outcome) -> list[list[str]]:
    """A header, and a row for each setting: means over seeds, ± half of the 95 % interval."""
    lines = [["setting", *COLUMNS.values()]]
    for name in outcome.runs:
        if name not in outcome.finished:
            lines.append([name, "diverged", *[""] * (len(COLUMNS) - 1)])
            continue
        lines.append([name, *(_cell(outcome, name, column) for column in COLUMNS)])
    return lines


def _cell(outcome: Outcome, setting: str, column: str) -> str:
    values = outcome.values(setting, column)
    decimals = _DECIMALS.get(column, 0)
    if len(values) < 2 or column in ("steps", "seconds", "cpu_seconds"):
        return f"{np.mean(values):,.{decimals}f}"
    found = over_runs([{column: value} for value in values])[column]
    return f"{found.value:.{decimals}f} ± {(found.high - found.low) / 2:.{decimals}f}"


def verdict(outcome: Outcome, claim: Claim) -> dict[str, Any]:
    """Ratios of the claim's two settings on the test split, seed by seed.

    Returns:
        By metric: `ratio`, the mean over seeds; `low` and `high`, its 95 % interval by Student's t,
        of two seeds or more; `ratios` themselves; `at_least`; and whether it is `met`.
    """
    told = {}
    for metric, bound in claim.at_least.items():
        ours, than = (
            outcome.values(name, metric, split="test") for name in (claim.ours, claim.than)
        )
        if len(ours) != len(outcome.seeds) or len(than) != len(outcome.seeds):
            told[metric] = {"at_least": bound, "met": False, "diverged": True}
            continue
        ratios = [a / b if b else math.inf for a, b in zip(ours, than, strict=True)]
        finite = np.isfinite(ratios).all()
        ratio = float(np.mean(ratios)) if finite else None
        told[metric] = {
            "ours": float(np.mean(ours)),
            "than": float(np.mean(than)),
            "ratio": ratio,  # none: the other setting found nothing at all
            "ratios": [r if math.isfinite(r) else None for r in ratios],
            "at_least": bound,
            "met": ratio is None or ratio >= bound,
        }
        if len(ratios) > 1 and finite:
            interval = asdict(over_runs([{metric: r} for r in ratios])[metric])
            told[metric] |= {"low": interval["low"], "high": interval["high"]}
    return {"ours": claim.ours, "than": claim.than, "metrics": told}


def noise(outcome: Outcome) -> float:
    """Two standard errors of the best setting's validation metric over the queries asked."""
    best = max((outcome.mean(name, CHOSEN_BY) for name in outcome.finished), default=0.0)
    return 2 * math.sqrt(best * (1 - best) / outcome.queries)


def _seconds_saved(outcome: Outcome, cheaper: str, than: str) -> float:
    """Share of a setting's CPU seconds that another saves."""
    return 1 - outcome.mean(cheaper, "cpu_seconds") / outcome.mean(than, "cpu_seconds")


def follows(outcome: Outcome) -> list[str]:
    """What follows for a user, a sentence each, from the figures alone."""
    names = outcome.finished
    if not names:
        return ["Every run diverged."]

    def by(name: str) -> float:
        return outcome.mean(name, CHOSEN_BY)

    best, worst = max(names, key=by), min(names, key=by)
    level = [name for name in names if by(name) >= by(best) - noise(outcome)]
    cheapest = min(level, key=lambda name: outcome.mean(name, "cpu_seconds"))
    if _seconds_saved(outcome, cheapest, best) < _WORTH_SAVING:
        cheapest = best
    told = [
        f"Best: {best}, {CHOSEN_BY} {by(best):.4f} on validation."
        + (
            f" Level with it, to within {noise(outcome):.4f}, two standard errors over "
            f"{outcome.queries:,} queries: {', '.join(name for name in level if name != best)}."
            if len(level) > 1
            else f" No other comes within {noise(outcome):.4f}, two standard errors over "
            f"{outcome.queries:,} queries."
        ),
        f"Take {cheapest}"
        + (
            f": of these the least work, {outcome.mean(cheapest, 'cpu_seconds'):,.0f} CPU seconds."
            if cheapest != best
            else f" ({outcome.mean(cheapest, 'cpu_seconds'):,.0f} CPU seconds)."
        ),
    ]
    if worst not in level:
        told.append(
            f"Worst: {worst}, {by(worst):.4f}, {100 * (1 - by(worst) / by(best)):.0f} % below."
        )
    even, uneven = (
        pick(names, key=lambda name: outcome.mean(name, "item_uniformity")) for pick in (min, max)
    )
    if even != uneven:
        told.append(
            f"Items lie most evenly with {even} (uniformity "
            f"{outcome.mean(even, 'item_uniformity'):.2f}), least with {uneven} "
            f"({outcome.mean(uneven, 'item_uniformity'):.2f})."
        )
    spiking = [name for name in names if outcome.mean(name, "loss_spikes") > 0]
    told.append(
        "Loss spikes: "
        + (
            ", ".join(f"{n} {outcome.mean(n, 'loss_spikes'):g}" for n in spiking)
            if spiking
            else "none"
        )
        + "."
    )
    diverged = [name for name, runs in outcome.runs.items() if any("diverged" in r for r in runs)]
    if diverged:
        told.append(f"Diverged: {', '.join(diverged)}.")
    return told
