"""From queries to files: an evaluation with its tables, `metrics.json` and `report.html`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.files import write_json
from configs.schema import Config
from trainer.dataset import Dataset
from trainer.evaluation import evaluate
from trainer.recommenders import Recommender
from trainer.report.curves import read_curves
from trainer.report.page import write_report
from trainer.retrieval import Scorer
from trainer.tables import print_tables
from trainer.workdir import METRICS_FILE, REPORT_FILE


def evaluate_and_write(
    config: Config,
    dataset: Dataset,
    recommender: Recommender,
    *,
    source: str,
    split: str,
    output: Path,
    console: Console,
    with_baselines: bool = True,
    others: Mapping[str, Scorer] | None = None,
    tuning: Mapping[str, Any] | None = None,
    training_logs: Path | None = None,
) -> dict[str, Any]:
    """Evaluates, prints the tables, and writes `metrics.json` and `report.html`.

    Args:
        config: protocols, list lengths, baselines.
        dataset: whose queries.
        recommender: the model.
        source: what the report calls the model's run or export.
        split: `validation` or `test`.
        output: directory for the two files.
        console: for progress and tables.
        with_baselines: see `evaluate`.
        others: see `evaluate`.
        tuning: what `tune_baselines` told, for the report.
        training_logs: TensorBoard's directory of the run, for the training curves.

    Returns:
        What `metrics.json` holds.
    """
    metrics = {"source": source} | evaluate(
        config,
        dataset,
        recommender,
        split=split,
        with_baselines=with_baselines,
        console=console,
        others=others,
    )
    if tuning is not None:
        metrics["tuning"] = dict(tuning)
    print_tables(metrics, console)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / METRICS_FILE, metrics)
    curves = read_curves(training_logs) if training_logs else {}
    write_report(
        output / REPORT_FILE, metrics, curves, max_item_cosine=config.train.max_item_cosine
    )
    return metrics
