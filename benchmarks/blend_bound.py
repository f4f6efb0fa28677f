"""How much a blend of all there is could add to trained towers, fitted on the answers.

    python -m benchmarks.blend_bound --config=configs/movietweetings.py --dataset=DATASET --runs=A,B

Asks the `window` queries of the validation split. Parts are the mean of some trained runs, every
baseline of the config, and counts of an item's positives with several half-lives. Random search
then looks for the weights of their sum that have the best Recall@100 on those same queries. So the
result is no figure that a user could have: it tells about how much better weighing of what these
scorers know could give. With `--known_days=3,7` one more blend for each also knows what everybody
will want in the split's first so many days: what foresight of the near future would add.
Holds all scores in memory, 4 bytes for each part, query and item; fitting baselines takes about a
minute, a try about a second, on 2 cores.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import flags
from rich.console import Console

from benchmarks.popularity_bound import (
    SPLIT,
    asked_of,
    first_days,
    halved_counts,
    shown_of,
    table_of,
)
from configs.cli import console, define_config, run_app
from configs.schema import Config
from trainer.baselines import fit_baselines
from trainer.dataset import AskedQueries, Dataset, load_interactions, open_dataset
from trainer.evaluation import measure
from trainer.queries import Queries
from trainer.recommenders import Towers
from trainer.restore import restore_run
from trainer.retrieval import Float32Array, Scorer

RUNS = "mean of the runs"
_BLEND = "blend, fitted on the answers"
_FITTED = "Recall@100"
_CHANGED_AT_ONCE = 2
# Scores of a few neighbours stand far out of a catalog of zeros: their weights are small.
_LOG10_WEIGHTS = (-3.0, 0.0)
_LEAST_COUNT = 0.02  # what an item without a count is taken for, so that it has a logarithm


class Blend:
    """A weighted sum of scores that are there already."""

    def __init__(self, parts: Mapping[str, Float32Array], weights: Mapping[str, float]) -> None:
        """Takes scores, float32 [Q, num_items] or [1, num_items] for all queries, and weights."""
        self._parts = [(parts[name], np.float32(w)) for name, w in weights.items() if w]

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        width = len(range(*items.indices(self._parts[0][0].shape[1])))
        total = np.zeros((rows.stop - rows.start, width), np.float32)
        for scores, weight in self._parts:
            total += weight * (scores if len(scores) == 1 else scores[rows])[:, items]
        return total


def scaled(scores: Float32Array) -> Float32Array:
    """Float32 [n, num_items] over their deviation within rows, so that weights are alike."""
    spread = np.sqrt(scores.var(axis=1).mean())
    return (scores / (spread if spread > 0 else 1)).astype(np.float32)


def of_counts(count: npt.NDArray[np.float64]) -> Float32Array:
    """Counts, float64 [num_items], as scores that are alike for all queries, [1, num_items]."""
    return scaled(np.log(count + _LEAST_COUNT).astype(np.float32)[np.newaxis])


def above_zero(scores: Float32Array) -> Float32Array:
    """What a baseline has to say itself: below zero it fills up with the most popular items.

    In a sum with others that would speak against every item that the baseline does not know.
    """
    return np.maximum(scores, 0)


def fit_weights(
    parts: Mapping[str, Float32Array],
    queries: Queries,
    config: Config,
    dataset: Dataset,
    *,
    tries: int,
    start: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Weights of the best Recall@100 on these queries, of 0 and above, by random search.

    Args:
        parts: scores by name.
        queries: what it is fitted on.
        config: candidates.
        dataset: of the queries.
        tries: how many blends are measured.
        start: weights to begin with, others are 0; by default 1 of the first part.
        seed: of the search.
    """
    draw = np.random.default_rng(seed)
    names = list(parts)
    best = dict.fromkeys(names, 0.0) | dict(start or {names[0]: 1.0})

    def recall(weights: Mapping[str, float]) -> float:
        return float(measure(Blend(parts, weights), queries, config, dataset).means[_FITTED])

    reached = recall(best)
    for _ in range(tries):
        tried = dict(best)
        count = draw.integers(1, min(_CHANGED_AT_ONCE, len(names)) + 1)
        for name in draw.choice(names, count, replace=False):
            tried[str(name)] = _another(tried[str(name)], draw)
        if any(tried.values()) and (found := recall(tried)) > reached:
            best, reached = tried, found
    return best


def _another(weight: float, draw: np.random.Generator) -> float:
    """A weight to try in the place of one: none at all, one near it, or any."""
    move = draw.random()
    if move < 0.2:
        return 0.0
    if weight and move < 0.7:
        return float(weight * np.exp(draw.normal(scale=0.5)))
    return float(10 ** draw.uniform(*_LOG10_WEIGHTS))


def run(
    config: Config,
    dataset: Dataset,
    runs: Sequence[Path],
    *,
    known_days: Sequence[int] = (),
    tries: int,
    out: Console,
) -> dict[str, Any]:
    """Measures every part and the blends, and prints the table.

    Raises:
        UserError: the dataset has no validation queries, or a run is none, or of another dataset.
    """
    asked = asked_of(config, dataset)
    queries = asked.queries
    train = load_interactions(dataset, ["train"])
    found = {}
    parts: dict[str, Float32Array] = {}
    every, all_items = slice(0, len(queries)), slice(0, dataset.catalog.size)

    def add(name: str, scorer: Scorer) -> Float32Array:
        found[name] = shown_of(scorer, queries, config, dataset)
        return scorer.score(queries, rows=every, items=all_items)

    of_runs = [add(path.name, _towers(path, dataset, asked)) for path in runs]
    parts[RUNS] = scaled(np.mean(of_runs, axis=0, dtype=np.float32))
    del of_runs
    found[RUNS] = shown_of(Blend(parts, {RUNS: 1.0}), queries, config, dataset)
    baselines = fit_baselines(config.eval, train, before_split=train, console=out)
    for name, baseline in baselines.items():
        parts[name] = scaled(above_zero(add(name, baseline)))
    for name, count in halved_counts(train):
        parts[name] = of_counts(count)
        found[name] = shown_of(Blend(parts, {name: 1.0}), queries, config, dataset)
    weights = fit_weights(parts, queries, config, dataset, tries=tries)
    blends = {_BLEND: (parts, weights)}
    for days in known_days:
        name, count = first_days(train, load_interactions(dataset, [SPLIT]), days)
        with_known = parts | {name: of_counts(count)}
        blends[f"{_BLEND}, that knows {days} days of them"] = (
            with_known,
            fit_weights(with_known, queries, config, dataset, tries=tries, start=weights),
        )
    fitted = {}
    for name, (blended, chosen) in blends.items():
        found[name] = shown_of(Blend(blended, chosen), queries, config, dataset)
        fitted[name] = {part: float(f"{each:.2g}") for part, each in chosen.items() if each}
    out.print(table_of("scored by", queries, found))
    out.print({"weights": fitted})
    return {"queries": len(queries), "scorers": found, "weights": fitted, "tries": tries}


def _towers(path: Path, dataset: Dataset, asked: AskedQueries) -> Scorer:
    """A run's towers, for queries of the dataset."""
    _, of_run, model, _ = restore_run(path, dataset.root, flag="--runs")
    return Towers(model, of_run, split=SPLIT).scorer(asked)


if __name__ == "__main__":
    _CONFIG = define_config()
    _DATASET = flags.DEFINE_string("dataset", None, "Made for --config.", required=True)
    _RUNS = flags.DEFINE_list("runs", None, "Workdirs of trainer.task on it.", required=True)
    _KNOWN = flags.DEFINE_list("known_days", [], "Days of the split that further blends know.")
    _TRIES = flags.DEFINE_integer("tries", 200, "Blends that are measured.", lower_bound=1)

    def _main(argv: list[str]) -> dict[str, Any]:
        config = _CONFIG()
        return run(
            config,
            open_dataset(Path(_DATASET.value), config),
            [Path(each) for each in _RUNS.value],
            known_days=[int(each) for each in _KNOWN.value],
            tries=_TRIES.value,
            out=console(),
        )

    run_app(_main)
