"""Is the simulated short-video log hard enough to tell models apart?

python -m benchmarks.simulator [--seeds=5] [--config=configs/default.py]

Simulates the config's log with several seeds and asks every user with something to find, once, at
the test split, for 100 videos out of the whole catalog less what they were shown. Measures the
oracle, the baselines at their best over a small grid chosen on the test itself (which flatters
them), and some scorers that are no baselines: counts of the user's creators, and what could be had
if only users' tastes were to be found (`benchmarks.known_videos`): the centroid of the history, and
the most likely taste after all that the user was shown, scored as the simulator does or as two
towers can, by a dot product. About three minutes a seed on 2 cores.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.known_videos import DotProduct, FittedTaste, HistoryCentroid
from configs.baselines import (
    EaseParameters,
    ItemKnnParameters,
    LastItemsParameters,
    PopularityParameters,
    RecentPopularityParameters,
)
from configs.cli import console, define_config, run_app
from configs.errors import UserError
from configs.schema import Config, Split
from configs.simulation import ShortVideoSimulation
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.short_video import (
    ShortVideoLogs,
    simulate_short_video,
    summarize_short_video,
)
from preprocessing.simulation.truth import mean_recall, window_positives
from trainer.baselines.ease import Ease
from trainer.baselines.item_knn import ItemKnn
from trainer.baselines.last_items import LastItems
from trainer.baselines.popularity import Popularity, RecentPopularity
from trainer.queries import Int64Array, Interactions, Queries, Ragged
from trainer.retrieval import PADDING, Float32Array, Scorer, top_k

_K = 100
# Catalog ids of the trainer start at 1; 0 is the unknown item.
_FIRST_ID = 1
_RECENT_DAYS = (1.0, 3.0, 7.0)
_SHRINKAGES = (2.0, 10.0, 50.0)
_NEIGHBOURS = 200
_LASTS = (8, 20)
_EASE_L2 = (100.0, 300.0)
# A centroid is less certain than a taste.
_SHARPNESS_SHARES = (0.4, 0.5, 0.6, 0.8)

# What the simulator claims, as shares of the oracle's Recall@100 or as they are.
_POPULARITY_AT_MOST = 0.4
_ITEM_KNN_AT_MOST = 0.75
_NEW_VIDEO_SHARE_AT_LEAST = 0.05
_VIDEOS_AT_LEAST = 30_000
_EVENTS_PER_MINUTE_AT_LEAST = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What models learn from, and what they are asked.

    Attributes:
        interactions: the positives before the test split.
        queries: one for each user with a relevant video, at the split.
        available: int64 [num_items], when each video was uploaded.
    """

    interactions: Interactions
    queries: Queries
    available: np.ndarray[tuple[int], np.dtype[np.int64]]


def make_question(logs: ShortVideoLogs) -> Question:
    """The `window` question at the test split."""
    log, catalog, split = logs.log, logs.platform.catalog, logs.cuts.test_time
    item = log.video.astype(np.int64) + _FIRST_ID
    time = np.floor(log.time_s).astype(np.int64)
    before = log.time_s < split
    known = before & log.positive
    relevant = window_positives(logs.platform, log, split=split)
    users = np.unique(log.user[relevant]).astype(np.int64)

    def rows(mask: np.ndarray[Any, np.dtype[np.bool_]], values: Any) -> Ragged:
        # The log is by user and then by time.
        of_user = np.isin(log.user, users) & mask
        lengths = np.bincount(log.user[of_user], minlength=logs.platform.config.users)[users]
        return Ragged.from_lengths(values[of_user], lengths)

    return Question(
        interactions=Interactions(
            user=log.user[known].astype(np.int64),
            item=item[known],
            time=time[known],
            num_users=logs.platform.config.users,
            num_items=len(catalog.creator) + _FIRST_ID,
            end_time=split,
        ),
        queries=Queries(
            user_id=users.astype(np.str_),
            as_of=np.full(len(users), split),
            history=rows(known, item),
            history_time=rows(known, time),
            seen=rows(before, item),
            relevant=rows(relevant, item),
        ),
        available=np.concatenate([[0], catalog.upload_time]),
    )


def short_video_of(config: Config) -> ShortVideoSimulation:
    """The simulation of a config.

    Raises:
        UserError: it is the other one.
    """
    if not isinstance(config.simulation, ShortVideoSimulation):
        raise UserError("config.simulation: found the StreamRec generator, expected short video")
    return config.simulation


def lists_of(question: Question, scorer: Scorer) -> Int64Array:
    """What a scorer answers each query with: int64 [Q, 100], padded."""
    lists, _ = top_k(
        scorer, question.queries, k=_K, available=question.available, exclude_seen=True
    )
    return lists


def recall(question: Question, scorer: Scorer) -> float:
    """Recall@100, mean over queries."""
    queries = question.queries
    lists = lists_of(question, scorer)
    row, place = np.nonzero(lists != PADDING)
    found = mean_recall(
        users=queries.relevant.row_of_value,
        videos=queries.relevant.values,
        listed_users=row,
        listed_videos=lists[row, place],
    )
    assert found is not None
    return found


class CreatorCounts:
    """How often the user liked the creator, backed off to how popular the video is of late.

    score = (count of the creator in the history + `prior` * the creator's share of all positives)
    * (positives of the last 7 days + a tenth of all + 0.3) / the same summed over the creator.
    """

    def __init__(self, logs: ShortVideoLogs, question: Question, *, prior: float) -> None:
        """Counts."""
        given = question.interactions
        creators = len(logs.platform.catalog.creators.share)
        self._creator = np.concatenate([[0], logs.platform.catalog.creator])
        recent = given.time >= given.end_time - 7 * SECONDS_PER_DAY
        weight = np.bincount(given.item[recent], minlength=given.num_items) + 0.3
        weight += 0.1 * given.item_counts
        total = np.bincount(self._creator, weights=weight, minlength=creators)
        self._within = weight / total[self._creator]
        liked = np.bincount(self._creator[given.item], minlength=creators)
        self._prior = prior * liked / liked.sum()

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        history = queries.history.slice(rows.start, rows.stop)
        counts = np.tile(self._prior, (len(history), 1))
        np.add.at(counts, (history.row_of_value, self._creator[history.values]), 1)
        return (counts[:, self._creator[items]] * self._within[items]).astype(np.float32)


def _models(logs: ShortVideoLogs, question: Question) -> Iterator[tuple[str, Callable[[], Scorer]]]:
    """Name and maker of each scorer; several of one name are a grid, of which the best counts."""
    given = question.interactions
    yield "popularity", lambda: Popularity(PopularityParameters()).fit(given)
    for days in _RECENT_DAYS:
        yield (
            "popularity",
            lambda days=days: RecentPopularity(RecentPopularityParameters(days=days)).fit(given),
        )
    for shrinkage in _SHRINKAGES:
        yield (
            "item-kNN",
            lambda shrinkage=shrinkage: ItemKnn(
                ItemKnnParameters(neighbours=_NEIGHBOURS, shrinkage=shrinkage)
            ).fit(given),
        )
    for last in _LASTS:
        yield (
            "last items",
            lambda last=last: LastItems(LastItemsParameters(last=last, window=last)).fit(given),
        )
    for l2 in _EASE_L2:
        yield (
            "EASE",
            lambda l2=l2: Ease(EaseParameters(regularization=l2)).fit(given),
        )
    for prior in (1.0, 10.0):
        yield "creator counts", lambda prior=prior: CreatorCounts(logs, question, prior=prior)
    for share in _SHARPNESS_SHARES:
        sharpness = share * logs.platform.config.sharpness
        centroid = functools.partial(HistoryCentroid, logs, sharpness=sharpness)
        yield "history centroid", centroid
        yield (
            "history centroid, dot product",
            lambda centroid=centroid: DotProduct(centroid()),
        )
    fitted = functools.cache(lambda: FittedTaste(logs))
    yield "fitted taste", fitted
    yield "fitted taste, dot product", lambda: DotProduct(fitted())


def measure(
    config: ShortVideoSimulation, *, split: Split, display: Console
) -> tuple[dict[str, Any], dict[str, float]]:
    """Simulates and scores.

    Returns:
        The simulator's summary, and Recall@100 by scorer, the oracle's first.
    """
    with display.status(f"seed {config.seed}: simulating") as status:
        logs = simulate_short_video(config, split=split, progress=lambda stage, share: None)
        summary = summarize_short_video(logs)
        summary["events_per_minute"] = 60 * len(logs.events.slot) / logs.simulation_s
        question = make_question(logs)
        recalls = {"oracle": float(summary["oracle_recall_at_100"])}
        for name, make in _models(logs, question):
            status.update(f"seed {config.seed}: {name}")
            recalls[name] = max(recalls.get(name, 0.0), recall(question, make()))
    return summary, recalls


def run(config: Config, *, seeds: int) -> Mapping[str, Any]:
    """Measures, prints the tables, and returns what the command prints last."""
    simulation = short_video_of(config)
    if seeds < 1:
        raise UserError(f"--seeds: found {seeds}, expected at least 1")
    runs = [
        measure(
            dataclasses.replace(simulation, seed=simulation.seed + number),
            split=config.data.split,
            display=console(),
        )
        for number in range(seeds)
    ]
    summaries = [summary for summary, _ in runs]
    recalls = {name: [one[name] for _, one in runs] for name in runs[0][1]}
    shares = {
        name: [value / best for value, best in zip(values, recalls["oracle"], strict=True)]
        for name, values in recalls.items()
    }
    table = Table("scorer", "Recall@100", "of the oracle's: mean", "least", "most")
    for name, values in recalls.items():
        table.add_row(
            name,
            f"{statistics.mean(values):.3f}",
            f"{statistics.mean(shares[name]):.3f}",
            f"{min(shares[name]):.3f}",
            f"{max(shares[name]):.3f}",
        )
    console().print(table)

    def worst(pick: Callable[[list[float]], float], key: str) -> float:
        return pick([summary[key] for summary in summaries])

    claims = {
        "popularity_of_oracle": (max(shares["popularity"]), "<=", _POPULARITY_AT_MOST),
        "item_knn_of_oracle": (max(shares["item-kNN"]), "<=", _ITEM_KNN_AT_MOST),
        "test_events_on_videos_after_train": (
            worst(min, "test_events_on_videos_after_train"),
            ">=",
            _NEW_VIDEO_SHARE_AT_LEAST,
        ),
        "videos": (worst(min, "videos"), ">=", _VIDEOS_AT_LEAST),
        "events_per_minute": (
            worst(min, "events_per_minute"),
            ">=",
            _EVENTS_PER_MINUTE_AT_LEAST,
        ),
    }
    held = {
        name: value <= limit if relation == "<=" else value >= limit
        for name, (value, relation, limit) in claims.items()
    }
    verdict = Table("claim, worst seed", "found", "limit", "holds")
    for name, (value, relation, limit) in claims.items():
        verdict.add_row(name, f"{value:.6g}", f"{relation} {limit:g}", str(held[name]))
    console().print(verdict)
    return {
        "seeds": seeds,
        "events": statistics.mean(summary["events"] for summary in summaries),
        "train_positives_per_user": statistics.mean(
            summary["train_positives_per_user"] for summary in summaries
        ),
        "recall_at_100": {name: statistics.mean(values) for name, values in recalls.items()},
        "of_oracle": {name: statistics.mean(values) for name, values in shares.items()},
        "worst_seed": {name: value for name, (value, _, _) in claims.items()},
        "claims_hold": all(held.values()),
    }


if __name__ == "__main__":
    _CONFIG = define_config()
    _SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds to simulate, from the config's on.")
    run_app(lambda argv: run(_CONFIG(), seeds=_SEEDS.value))
