"""How far one list for everybody goes, and whom it cannot help.

    python -m benchmarks.popularity_bound --dataset=DATASET --config=configs/movietweetings.py

Asks the `window` queries of the validation split for 100 items of the whole catalog. Tells who asks
and for what (users without a history, items without train rows, by how much of Recall@100 hangs on
them), and what lists by popularity reach that know the events before the split: of the last days,
with a half-life, and by a power of age. The last lines know the answers: the most wanted items of
the split's first days, and of all of it, which is the most that any one list could reach about.
Nothing is trained; seconds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import flags
from rich.console import Console
from rich.table import Table

from configs.cli import console, define_config, run_app
from configs.errors import UserError
from configs.schema import Config, Protocol
from preprocessing.columns import SECONDS_PER_DAY
from trainer.dataset import AskedQueries, Dataset, load_interactions, open_dataset
from trainer.evaluation import ask, measure
from trainer.queries import Interactions, Queries
from trainer.retrieval import Float32Array, Scorer

SPLIT = "validation"
_WINDOWS_DAYS = (1, 3, 7, 14, 30)
_HALF_LIVES_DAYS = (1, 3, 7, 14, 30)
_POWERS = (0.5, 1.0, 1.5)
_FIRST_DAYS = (1, 3, 7)
_SHOWN = ("HR@10", "NDCG@10", "Recall@20", "Recall@100")
_TRAIN_ROWS = (0, 1, 5, 20, 100)

_Weights = npt.NDArray[np.float64]


class OneList:
    """The same scores for every query."""

    def __init__(self, weight: _Weights, *, then_by: npt.NDArray[np.int64]) -> None:
        """Ranks by `weight` [num_items], where it ties by `then_by` [num_items]."""
        pairs = np.stack([weight, then_by], axis=1)
        self._rank = np.unique(pairs, axis=0, return_inverse=True)[1].astype(np.float32)

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        return np.tile(self._rank[items], (rows.stop - rows.start, 1))


def popularities(before: Interactions, answers: Interactions) -> Iterator[tuple[str, _Weights]]:
    """Name and weight of each item, float64 [num_items], of every list.

    Args:
        before: positives before the split.
        answers: those within it.
    """
    age_days = (before.end_time - before.time) / SECONDS_PER_DAY

    def counted(of: Interactions, weight: npt.NDArray[np.generic]) -> _Weights:
        return np.bincount(of.item, weight, before.num_items).astype(np.float64)

    yield "all events", counted(before, np.ones(len(age_days)))
    for days in _WINDOWS_DAYS:
        yield f"last {days} d", counted(before, age_days <= days)
    yield from halved_counts(before)
    for power in _POWERS:
        yield f"(1 + age in days) ** -{power:g}", counted(before, (1 + age_days) ** -power)
    for days in _FIRST_DAYS:
        yield first_days(before, answers, days)
    yield "oracle: the split", counted(answers, np.ones(len(answers.item)))


def first_days(before: Interactions, answers: Interactions, days: float) -> tuple[str, _Weights]:
    """Name and positives of each item in the split's first days, float64 [num_items]."""
    soon = answers.time < before.end_time + days * SECONDS_PER_DAY
    counts = np.bincount(answers.item, soon, before.num_items)
    return f"oracle: the split's first {days:g} d", counts


def halved_counts(before: Interactions) -> Iterator[tuple[str, _Weights]]:
    """Name, and float64 [num_items] counts in which events lose half their weight in some days."""
    age_days = (before.end_time - before.time) / SECONDS_PER_DAY
    for days in _HALF_LIVES_DAYS:
        weight = 0.5 ** (age_days / days)
        yield f"half-life {days} d", np.bincount(before.item, weight, before.num_items)


def who_asks(queries: Queries, *, train_count: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Of queries, and of what Recall is a mean of, how much is about what is new.

    Args:
        queries: each with a relevant item.
        train_count: int64 [num_items], train rows of each item.

    Returns:
        `new_users`, the share of queries without a history; `relevant`, relevant items of a query
        in the mean; `by_train_rows`, by the least number of train rows, the share of recall that
        hangs on items with as many, up to the next.
    """
    relevant = queries.relevant
    of_recall = np.repeat(1 / relevant.lengths, relevant.lengths) / len(queries)
    group = np.searchsorted(_TRAIN_ROWS, train_count[relevant.values], side="right") - 1
    shares = np.bincount(group, of_recall, minlength=len(_TRAIN_ROWS))
    return {
        "new_users": float((queries.history.lengths == 0).mean()),
        "relevant": float(relevant.lengths.mean()),
        "by_train_rows": {
            str(least): float(share) for least, share in zip(_TRAIN_ROWS, shares, strict=True)
        },
    }


def asked_of(config: Config, dataset: Dataset) -> AskedQueries:
    """The `window` queries of the validation split.

    Raises:
        UserError: there are none.
    """
    asked, _ = ask(config, dataset, SPLIT, Protocol.WINDOW)
    if not len(asked.queries):
        raise UserError(f"--dataset={dataset.root}: found no validation queries, expected some")
    return asked


def shown_of(
    scorer: Scorer, queries: Queries, config: Config, dataset: Dataset
) -> dict[str, float]:
    """A scorer's metrics in the table."""
    means = measure(scorer, queries, config, dataset).means
    return {metric: means[metric] for metric in _SHOWN}


def table_of(what: str, queries: Queries, found: Mapping[str, Mapping[str, float]]) -> Table:
    """A row for each scorer in `found`, under `what` and the metrics."""
    table = Table(what, *_SHOWN, title=f"{len(queries):,} validation queries")
    for name, means in found.items():
        table.add_row(name, *(f"{value:.3f}" for value in means.values()))
    return table


def run(config: Config, dataset: Dataset, *, out: Console) -> dict[str, Any]:
    """Measures every list and prints the table.

    Raises:
        UserError: the dataset has no validation split.
    """
    queries = asked_of(config, dataset).queries
    before, answers = (load_interactions(dataset, [split]) for split in ("train", SPLIT))
    asks = who_asks(queries, train_count=dataset.catalog.train_count)
    found = {
        name: shown_of(OneList(weight, then_by=before.item_counts), queries, config, dataset)
        for name, weight in popularities(before, answers)
    }
    out.print(asks)
    out.print(table_of("one list for everybody", queries, found))
    return {"queries": len(queries), **asks, "lists": found}


if __name__ == "__main__":
    _CONFIG = define_config()
    _DATASET = flags.DEFINE_string("dataset", None, "Made for --config.", required=True)

    def _main(argv: list[str]) -> dict[str, Any]:
        config = _CONFIG()
        return run(config, open_dataset(Path(_DATASET.value), config), out=console())

    run_app(_main)
