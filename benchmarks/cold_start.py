"""How new users and new videos fare with each dropout of training on and off.

    python -m benchmarks.cold_start --log=short_video --workdir=/tmp/cold [--seeds=3]
    python -m benchmarks.cold_start --log=movietweetings --data=MOVIETWEETINGS --workdir=/tmp/cold

Trains the log's preset with no dropout of inputs, with each alone, and with all three: history
dropout and item-id dropout at the preset's shares, feature dropout at a fifth of every feature's
rows (of items, for an item's). Each run is asked the `window` queries of the validation split over
the full catalog, and Recall@100 is told for users without a history, for videos without train rows,
and for all others. Popularity of the last days, which needs no training, is beside them.

The short-video log is simulated, at half the users and videos of the default and three times its
share of users who sign up meanwhile. MOVIETWEETINGS holds
events.parquet and videos.parquet in the raw log contract. Runs that are there from an earlier call
are used again. The table is written to WORKDIR/LOG/cold_start.md too.
"""

import copy
import enum
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console

from benchmarks.quality import Row, over_runs, prepare, preset
from benchmarks.tables import in_markdown, shown
from configs.baselines import RecentPopularityParameters
from configs.cli import console, run_app
from configs.files import write_json, write_text
from configs.kinds import Sequence as History
from configs.schema import Config, Protocol
from configs.simulation import ShortVideoSimulation
from trainer.baselines.popularity import RecentPopularity
from trainer.dataset import Dataset, load_interactions, open_dataset
from trainer.evaluation import ask, measure
from trainer.metrics import Metrics, slice_by_relevant
from trainer.queries import Queries
from trainer.recommenders import Towers
from trainer.restore import restore_run
from trainer.train import train_and_evaluate

_METRIC = "Recall@100"
_SPLIT = "validation"
_FEATURE_DROPOUT = 0.2
_SIMULATION = ShortVideoSimulation(users=2_000, videos=15_000, new_user_share=0.3)
_RESULT = "slices.json"


class Log(enum.Enum):
    """What is learnt from."""

    SHORT_VIDEO = Row.SHORT_VIDEO.value
    MOVIETWEETINGS = Row.MOVIETWEETINGS.value


class Dropout(enum.Enum):
    """An input that training rows, or a step's items, are now and then without."""

    HISTORY = "history"
    ITEM_ID = "item ids"
    FEATURES = "features"


SETTINGS: Mapping[str, frozenset[Dropout]] = {
    "none": frozenset(),
    **{f"{dropout.value} alone": frozenset({dropout}) for dropout in Dropout},
    "all three": frozenset(Dropout),
}


def with_dropouts(config: Config, dropouts: frozenset[Dropout]) -> Config:
    """A preset with some dropouts as they are in it, and the others off.

    The preset's own feature dropout, if any, is replaced: it is all features' or none's.
    """
    config = copy.deepcopy(config)
    train = config.train
    if Dropout.HISTORY not in dropouts:
        train.history_dropout = 0.0
    if Dropout.ITEM_ID not in dropouts:
        train.item_id_dropout = 0.0
    train.feature_dropout = {
        name: _FEATURE_DROPOUT
        for name, feature in config.features.items()
        if Dropout.FEATURES in dropouts and name != "item_id" and not isinstance(feature, History)
    }
    return config


def recall_by_slice(
    metrics: Metrics, queries: Queries, *, train_count: np.ndarray[Any, np.dtype[np.int64]]
) -> dict[str, float]:
    """Recall@100 of all, of new users, of new videos, and of what is neither.

    Args:
        metrics: of `queries`.
        queries: each with a relevant item.
        train_count: int64 [num_items], how many train rows each item has.

    Returns:
        The mean over queries that have such relevant items; a slice that none has is left out.
    """
    relevant = queries.relevant
    new_user = (queries.history.lengths == 0)[relevant.row_of_value]
    new_video = train_count[relevant.values] == 0
    slices = {
        "all": np.ones_like(new_user),
        "new users": new_user,
        "new videos": new_video,
        "all others": ~(new_user | new_video),
    }
    found = {}
    for name, inside in slices.items():
        told = slice_by_relevant(metrics, relevant, inside.astype(np.int64), ("", name))
        if name in told:
            found[name] = told[name][_METRIC]
    return found


def run(
    config: Config,
    dataset_dir: Path,
    workdir: Path,
    *,
    seeds: int,
    out: Console,
    settings: Mapping[str, frozenset[Dropout]] = SETTINGS,
) -> dict[str, list[dict[str, float]]]:
    """Trains every setting with every seed, those that are not there yet, and measures them.

    Args:
        config: the preset.
        dataset_dir: made for its features, with a validation split.
        workdir: runs are written below it.
        seeds: runs of each setting, with seeds from the preset's on.
        out: for progress.
        settings: which dropouts are on, by what the table calls it.

    Returns:
        By setting, `recall_by_slice` of each seed; by recent popularity once.
    """
    dataset = open_dataset(dataset_dir, config)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in settings}
    for number in range(seeds):
        for name, dropouts in settings.items():
            out.print(f"dropout {name}, seed {number + 1} of {seeds}")
            setting = with_dropouts(config, dropouts)
            setting.train.seed += number
            work = workdir / f"{name.replace(' ', '-')}-{setting.train.seed}"
            found[name].append(_train_once(setting, dataset, work, out=out))
    train = load_interactions(dataset, ["train"])
    popular = RecentPopularity(RecentPopularityParameters()).fit(train)
    return {**found, "(recent popularity)": [_measured(config, dataset, popular)]}


def _train_once(config: Config, dataset: Dataset, work: Path, *, out: Console) -> dict[str, float]:
    """One run's figures, kept beside it; it is never asked the test split."""
    result = work / _RESULT
    if not result.exists():
        training = copy.deepcopy(config)
        training.eval.protocols = ()
        train_and_evaluate(training.validate(), dataset.root, work, console=out)
        _, _, model, _ = restore_run(work)
        write_json(result, _measured(config, dataset, Towers(model, dataset, split=_SPLIT)))
    found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return found


def _measured(
    config: Config, dataset: Dataset, model: Towers | RecentPopularity
) -> dict[str, float]:
    asked, _ = ask(config, dataset, _SPLIT, Protocol.WINDOW)
    scorer = model.scorer(asked) if isinstance(model, Towers) else model
    metrics = measure(scorer, asked.queries, config, dataset)
    return recall_by_slice(metrics, asked.queries, train_count=dataset.catalog.train_count)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[list[str]]:
    """A header, and a row for each setting: means over seeds, ± half of the 95 % interval."""
    slices = list(next(iter(found.values()))[0])
    lines = [["dropout", *slices]]
    for name, runs in found.items():
        cells = []
        for each in slices:
            values = [run[each] for run in runs]
            cell = f"{np.mean(values):.3f}"
            if len(values) > 1:
                interval = over_runs([{each: value} for value in values])[each]
                cell += f" ± {(interval.high - interval.low) / 2:.3f}"
            cells.append(cell)
        lines.append([name, *cells])
    return lines


def main(log: Log, *, workdir: str, data: str | None, seeds: int) -> dict[str, Any]:
    """Prepares, trains, measures; prints and writes the table."""
    config = preset(Row(log.value), data=data)
    if log is Log.SHORT_VIDEO:
        config.simulation = _SIMULATION
    out, root = console(), Path(workdir) / log.value
    prepared = prepare(config.validate(), root=root, data=Path(data) if data else None, out=out)
    found = run(config, prepared.dataset, root / "runs", seeds=seeds, out=out)
    lines = table(found)
    out.print(shown(f"{log.value}: {_METRIC} on validation, {seeds} seeds", lines))
    write_text(root / "cold_start.md", "\n".join(in_markdown(lines)) + "\n")
    return {"log": log.value, "seeds": seeds, "recall@100": found}


if __name__ == "__main__":
    _LOG = flags.DEFINE_enum_class("log", None, Log, "What is learnt from.", required=True)
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
    _DATA = flags.DEFINE_string("data", None, "Directory of MovieTweetings' raw tables.")
    _SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each setting.", lower_bound=1)
    run_app(
        lambda argv: main(_LOG.value, workdir=_WORKDIR.value, data=_DATA.value, seeds=_SEEDS.value)
    )
