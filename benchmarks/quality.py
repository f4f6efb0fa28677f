"""How good the recommendations are: one row of the README's table a command.

    python -m benchmarks.quality --row=short_video --workdir=/tmp/quality
    python -m benchmarks.quality --row=streamrec --workdir=/tmp/quality
    python -m benchmarks.quality --row=ml1m_loo --data=MOVIELENS_1M --workdir=/tmp/quality
    python -m benchmarks.quality --row=ml1m_loo_causal --data=MOVIELENS_1M --workdir=/tmp/quality
    python -m benchmarks.quality --row=ml1m_time90 --data=MOVIELENS_1M --workdir=/tmp/quality
    python -m benchmarks.quality --row=movietweetings --data=MOVIETWEETINGS --workdir=/tmp/quality

MOVIELENS_1M and MOVIETWEETINGS hold events.parquet, videos.parquet and, the first, users.parquet in
the raw log contract, every rating a like. Each row runs its preset: logs, dataset, training,
evaluation on the test split. What was chosen was chosen with the preset's own validation split;
here the rows split by time train on all events before the test split, as their baselines do. A
stage that is there from an earlier run is used again.

`--seeds=5` trains so many times on the one dataset, with seeds from the preset's on, and gives the
mean of each metric with its 95 % interval over runs. The first run measures the baselines too, with
paired differences on the same users; they do not depend on the seed, so the others leave them out.
"""

import copy
import enum
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.stats
from absl import flags
from rich.console import Console
from rich.table import Table

from configs import default, movielens, movietweetings, streamrec
from configs.cli import console, run_app
from configs.errors import UserError
from configs.schema import Config, SplitBy
from preprocessing.job import preprocess
from preprocessing.simulate import simulate
from preprocessing.simulation.streamrec import expected_hit_rate
from serving.offline import embed_requests, exact_lists
from serving.requests import build_request, load_states
from trainer.bootstrap import Interval
from trainer.evaluation import MODEL
from trainer.restore import restore_run
from trainer.train import train_and_evaluate
from trainer.workdir import METRICS_FILE


class Row(enum.Enum):
    """A line of the table."""

    ML1M_LOO = "ml1m_loo"
    ML1M_LOO_CAUSAL = "ml1m_loo_causal"
    ML1M_TIME90 = "ml1m_time90"
    MOVIETWEETINGS = "movietweetings"
    SHORT_VIDEO = "short_video"
    STREAMREC = "streamrec"


_SHOWN = ("HR@10", "NDCG@10", "Recall@20", "Recall@100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row's run.

    Attributes:
        config: the preset.
        root: everything of the row is below it.
        logs: directory of the raw tables.
        seconds: by stage.
    """

    config: Config
    root: Path
    logs: Path
    seconds: dict[str, float]

    @property
    def dataset(self) -> Path:
        """Directory of the dataset."""
        return self.root / "dataset"

    def stage(self, name: str, done: Path, work: Callable[[], Any]) -> None:
        """Does a stage's work unless its result is there; notes how long it took."""
        if done.exists():
            return
        begin = time.perf_counter()
        work()
        self.seconds[name] = round(time.perf_counter() - begin, 1)


def prepare(config: Config, *, root: Path, data: Path | None, out: Console) -> Run:
    """Logs and dataset of a row, those that are not there yet.

    Args:
        config: the preset of the row.
        root: everything is written below it.
        data: raw tables; simulated where there are none.
        out: for progress.
    """
    run = Run(config=config, root=root, logs=data or root / "logs", seconds={})
    if data is None:
        run.stage(
            "simulate",
            run.logs,
            lambda: simulate(
                config.simulation, split=config.data.split, output=str(run.logs), display=out
            ),
        )
    tables = {
        "events": run.logs / ("events.parquet" if data else "events"),
        "videos": run.logs / "videos.parquet",
    }
    if (users := run.logs / "users.parquet").exists():
        tables["users"] = users
    run.stage(
        "preprocess",
        run.dataset / "manifest.json",
        lambda: preprocess(
            config,
            tables={name: str(path) for name, path in tables.items()},
            output=run.dataset,
            display=out,
        ),
    )
    return run


def run_row(
    config: Config, *, row: Row, root: Path, data: Path | None, seeds: int, out: Console
) -> dict[str, Any]:
    """Logs to metrics for one row.

    Args:
        config: the preset of the row.
        row: which one.
        root: everything is written below it.
        data: raw tables; simulated where there are none.
        seeds: how many runs.
        out: for progress.

    Returns:
        The test metrics with the seconds of each stage.
    """
    run = prepare(config, root=root, data=data, out=out)
    truth = run.logs / "truth.parquet"
    works = [root / ("run" if number == 0 else f"run-{number + 1}") for number in range(seeds)]
    for number, work in enumerate(works):
        run.stage(
            "train and evaluate" if number == 0 else f"train {number + 1}",
            work / METRICS_FILE,
            lambda number=number, work=work: train_and_evaluate(
                seeded(config, number),
                run.dataset,
                work,
                console=out,
                compare_lists=truth if row is Row.SHORT_VIDEO else None,
            ),
        )
    metrics = [json.loads((work / METRICS_FILE).read_text())["protocols"] for work in works]
    first = metrics[0]
    result: dict[str, Any] = {
        "row": row.value,
        "seconds": run.seconds,
        "protocols": {protocol: found["models"] for protocol, found in first.items()},
        "differences": {
            protocol: found.get("differences", {}) for protocol, found in first.items()
        },
    }
    if seeds > 1:
        over_seeds = {
            protocol: over_runs([each[protocol]["models"][MODEL] for each in metrics])
            for protocol in first
        }
        result["seeds"] = [config.train.seed + number for number in range(seeds)]
        result["over seeds"] = {
            protocol: {name: asdict(interval) for name, interval in intervals.items()}
            for protocol, intervals in over_seeds.items()
        }
        for protocol, intervals in over_seeds.items():
            out.print(_table(protocol, intervals, first[protocol], seeds))
    if row is Row.SHORT_VIDEO:
        window = result["protocols"]["window"]
        ours, oracle = window[MODEL]["Recall@100"], window["truth"]["Recall@100"]
        result["recall@100 over the oracle's"] = round(ours / oracle, 4)
    if row is Row.STREAMREC:
        result |= _expected(root, run.logs)
    return result


def seeded(config: Config, number: int) -> Config:
    """The config of one of several runs: its own seed; baselines in the first alone."""
    config = copy.deepcopy(config)
    config.train.seed += number
    if number:
        config.eval.baselines.kinds = ()
    return config


def over_runs(runs: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Each metric's mean over runs, with its 95 % interval by Student's t."""
    factor = float(scipy.stats.t.ppf(0.975, len(runs) - 1)) / np.sqrt(len(runs))
    found = {}
    for name in runs[0]:
        values = np.array([each[name] for each in runs])
        mean, half = float(values.mean()), float(factor * values.std(ddof=1))
        found[name] = Interval(value=mean, low=mean - half, high=mean + half)
    return found


def _table(
    protocol: str, intervals: Mapping[str, Interval], first: Mapping[str, Any], seeds: int
) -> Table:
    """Ours over the seeds, and the baselines."""
    table = Table(title=f"{protocol}: {MODEL} over {seeds} seeds, mean ± half of the 95 % interval")
    names = [name for name in _SHOWN if name in intervals]
    for name in ("model", *names):
        table.add_column(name, justify="left" if name == "model" else "right")
    ours = (intervals[name] for name in names)
    table.add_row(MODEL, *(f"{i.value:.4f} ± {(i.high - i.low) / 2:.4f}" for i in ours))
    for model, values in first["models"].items():
        if model != MODEL:
            table.add_row(model, *(f"{values[name]:.4f}" for name in names))
    return table


def _expected(root: Path, logs: Path) -> dict[str, float]:
    """Expected HR@100 of every user's exact list, and the oracle's."""
    _, dataset, model, _ = restore_run(root / "run")
    truth = pl.read_parquet(logs / "truth.parquet").sort("user_id", "category")
    categories = truth["category"].unique().sort().to_list()
    probability = truth["probability"].to_numpy().reshape(-1, len(categories))
    users = truth["user_id"].unique(maintain_order=True).to_list()
    states = load_states(dataset.root, dataset.manifest, dataset.spec, user_ids=users)
    vectors = embed_requests(model, dataset, build_request(dataset.spec, states))
    day = dataset.manifest.splits.last_day
    lists = exact_lists(vectors, model.embed_catalog(dataset.catalog.size, day=day)[1:], 100)
    of_item = np.array([categories.index(c) for c in dataset.catalog.columns["category"][1:]])
    rows = np.searchsorted(np.array(users), states.user_id)  # users are sorted
    ours = expected_hit_rate(probability, user_rows=rows, item_categories=of_item[lists])
    oracle = json.loads((logs / "simulation.json").read_text())["oracle"]["hr_at_100"]
    return {"expected HR@100": ours, "oracle": oracle, "over the oracle's": round(ours / oracle, 4)}


def preset(row: Row, *, data: str | None) -> Config:
    """The config of a row.

    Raises:
        UserError: `data` is not given and the row needs it, or the other way round.
    """
    presets: dict[Row, Callable[[], Config]] = {
        Row.ML1M_LOO: lambda: movielens.get_config("loo"),
        Row.ML1M_LOO_CAUSAL: lambda: movielens.get_config("loo_causal"),
        Row.ML1M_TIME90: lambda: movielens.get_config("time90"),
        Row.MOVIETWEETINGS: movietweetings.get_config,
        Row.SHORT_VIDEO: default.get_config,
        Row.STREAMREC: streamrec.get_config,
    }
    needs_data = row not in (Row.SHORT_VIDEO, Row.STREAMREC)
    if needs_data != (data is not None):
        raise UserError(
            f"--data: found {data}, expected "
            + ("a directory of raw tables" if needs_data else "none")
            + f": the row {row.value} "
            + ("is of a real data set" if needs_data else "simulates")
        )
    return presets[row]()


def main(row: Row, *, workdir: str, data: str | None, seeds: int) -> dict[str, Any]:
    """Runs one row."""
    config = preset(row, data=data)
    if config.data.split.by is not SplitBy.LOO:
        config.data.split.validation_fraction = config.data.split.test_fraction
    return run_row(
        config.validate(),
        row=row,
        root=Path(workdir) / row.value,
        data=Path(data) if data else None,
        seeds=seeds,
        out=console(),
    )


if __name__ == "__main__":
    _ROW = flags.DEFINE_enum_class("row", None, Row, "Which line of the table.", required=True)
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
    _DATA = flags.DEFINE_string("data", None, "Directory of the raw tables of a real data set.")
    _SEEDS = flags.DEFINE_integer("seeds", 1, "Runs, each with a seed of its own.", lower_bound=1)
    run_app(
        lambda argv: main(_ROW.value, workdir=_WORKDIR.value, data=_DATA.value, seeds=_SEEDS.value)
    )
