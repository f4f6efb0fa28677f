"""What in-batch negatives without a correction cost on the simulated log one who knows the rest.

    python -m benchmarks.correction_bound [--config=configs/default.py]

Trained on the batch's own positives as negatives and not corrected, scores tend to the logarithm of
how likely a video is for a user less that of its share of the rows that batches are made of: of the
whole log, or with `train.batch_days` of the days around the row's. Takes the scorers of
`benchmarks.known_videos`, which know the simulator's vectors, policy and responses, with and
without that subtraction, and measures both at the test split. The share is counted, with some rows
added to every video's: a network does not learn a count of one from a count of two. Nothing is
trained; about two minutes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.known_videos import DotProduct, FittedTaste, HistoryCentroid
from benchmarks.simulator import Question, lists_of, make_question, short_video_of
from configs.cli import console, define_config, run_app
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.short_video import ShortVideoLogs, simulate_short_video
from trainer.metrics import evaluate_lists
from trainer.queries import Queries
from trainer.retrieval import Float32Array, Scorer

_KS = (10, 100)
_SHOWN = ("HR@10", "Recall@100")
_ADDED_ROWS = (0.5, 3.0)
_CENTROID_SHARPNESS = 0.5  # as a share of the policy's: a centroid is less certain than a taste


class Uncorrected:
    """A scorer's scores, as a logarithm, less the logarithm of each item's share."""

    def __init__(self, scorer: Scorer, count: npt.NDArray[np.float64], *, is_log: bool) -> None:
        """Takes the scorer and the rows of each item, float64 [num_items], above 0."""
        self._scorer, self._is_log = scorer, is_log
        self._log_count = np.log(count).astype(np.float32)

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        scores = self._scorer.score(queries, rows=rows, items=items)
        if not self._is_log:
            scores = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
        return scores - self._log_count[items]


def counts(question: Question, *, days: float) -> Mapping[str, npt.NDArray[np.float64]]:
    """Rows of each video, float64 [num_items], by where batches take theirs from.

    Args:
        question: whose positives they are.
        days: of `train.batch_days`; 0: batches are of the whole log and no other.
    """
    given = question.interactions
    found = {"the whole log": given.item_counts.astype(np.float64)}
    if days:
        recent = given.time >= given.end_time - days * SECONDS_PER_DAY
        counted = np.bincount(given.item[recent], minlength=given.num_items)
        found[f"{days:g} days"] = counted.astype(np.float64)
    return found


def known(logs: ShortVideoLogs) -> Mapping[str, tuple[Scorer, bool]]:
    """Scorers by what they know of a user and how they score; whether that is a logarithm."""
    sharpness = _CENTROID_SHARPNESS * logs.platform.config.sharpness
    centroid, fitted = HistoryCentroid(logs, sharpness=sharpness), FittedTaste(logs)
    return {
        "mean of the history, dot product": (DotProduct(centroid), True),
        "mean of the history, mixture": (centroid, False),
        "fitted taste, dot product": (DotProduct(fitted), True),
        "fitted taste, mixture": (fitted, False),
    }


def measure(scorer: Scorer, question: Question) -> dict[str, float]:
    """The metrics that are shown, of one list a query."""
    queries, num_items = question.queries, question.interactions.num_items
    lists = lists_of(question, scorer)
    means = evaluate_lists(lists, queries.relevant, ks=_KS, catalog_size=num_items - 1).means
    return {name: means[name] for name in _SHOWN}


def run(config: Config, display: Console) -> dict[str, Any]:
    """Measures, prints the table, and returns what the command prints last."""
    simulation = short_video_of(config)
    with display.status("simulating"):
        logs = simulate_short_video(
            simulation, split=config.data.split, progress=lambda stage, share: None
        )
        question = make_question(logs)
    found: dict[str, Any] = {}
    table = Table("known of a user, scored as", "batches of", "rows added")
    for name in _SHOWN:
        for column in (f"{name}, corrected", "not", "ratio"):
            table.add_column(column, justify="right")
    for name, (scorer, is_log) in known(logs).items():
        with display.status(name):
            corrected = measure(scorer, question)
            for source, count in counts(question, days=config.train.batch_days).items():
                for added in _ADDED_ROWS:
                    bare = measure(Uncorrected(scorer, count + added, is_log=is_log), question)
                    ratio = {metric: corrected[metric] / bare[metric] for metric in _SHOWN}
                    found[f"{name}; {source}; {added:g}"] = ratio
                    cells = [
                        f"{value:.3f}"
                        for metric in _SHOWN
                        for value in (corrected[metric], bare[metric], ratio[metric])
                    ]
                    table.add_row(name, source, f"{added:g}", *cells)
    display.print(table)
    return {"corrected_over_uncorrected": found}


if __name__ == "__main__":
    _CONFIG = define_config()
    run_app(lambda argv: run(_CONFIG(), console()))
