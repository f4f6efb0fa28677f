"""The short-video platform: simulated, summarised, and written as tables."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import UserError
from configs.schema import Split
from configs.simulation import ShortVideoSimulation
from preprocessing.simulation import topics
from preprocessing.simulation.catalog import (
    LANGUAGES,
    Catalog,
    category_of,
    make_catalog,
    make_titles_and_tags,
)
from preprocessing.simulation.cuts import Cuts, find_cuts
from preprocessing.simulation.log import EVENTS, WATCH, Events, Log, order_events, simulate_log
from preprocessing.simulation.output import names, write_shards, write_table
from preprocessing.simulation.platform import Platform
from preprocessing.simulation.policy import LoggingPolicy
from preprocessing.simulation.population import (
    COUNTRIES,
    DEVICES,
    GENDERS,
    NETWORKS,
    SUBSCRIPTIONS,
    Population,
    make_population,
)
from preprocessing.simulation.truth import (
    Truth,
    make_truth,
    mean_recall,
    users_with_positives_after,
    window_positives,
)

_RECALL_AT = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShortVideoLogs:
    """All that was simulated.

    Attributes:
        platform: parameters, videos and users.
        log: every impression.
        events: every event in time order.
        cuts: where the log is split.
        truth: the oracle's lists at the test split.
        simulation_s: wall-clock seconds taken, the oracle's not counted.
    """

    platform: Platform
    log: Log
    events: Events
    cuts: Cuts
    truth: Truth
    simulation_s: float


def simulate_short_video(
    config: ShortVideoSimulation, *, split: Split, progress: Callable[[str, float], None]
) -> ShortVideoLogs:
    """Simulates the platform.

    Args:
        config: its parameters, valid.
        split: where the oracle's test period begins.
        progress: called with a stage's name and the share of it done since the last call.

    Raises:
        UserError: the parameters bring no session, or the split is not by time.
    """
    started = time.monotonic()
    catalog_seed, population_seed, log_seed = np.random.SeedSequence(config.seed).spawn(3)
    catalog = make_catalog(config, np.random.default_rng(catalog_seed))
    population = make_population(config, catalog, np.random.default_rng(population_seed))
    platform = Platform(config=config, catalog=catalog, population=population)
    policy = LoggingPolicy(config, catalog)
    days = [policy.day(number) for number in range(config.days)]
    log = simulate_log(platform, days, log_seed, advance=lambda share: progress("sessions", share))
    if not len(log.user):
        raise UserError(
            f"config.simulation.sessions_per_day: found {config.sessions_per_day:g}, expected "
            "enough for at least one session"
        )
    events = order_events(log)
    simulation_s = time.monotonic() - started
    cuts = find_cuts(split, events.timestamp)
    truth = make_truth(
        platform,
        days,
        log,
        users=users_with_positives_after(log, cuts.test_time),
        split=cuts.test_time,
        advance=lambda share: progress("oracle", share),
    )
    return ShortVideoLogs(
        platform=platform,
        log=log,
        events=events,
        cuts=cuts,
        truth=truth,
        simulation_s=simulation_s,
    )


def summarize_short_video(logs: ShortVideoLogs) -> dict[str, Any]:
    """Figures of the simulated logs: counts, split times, the oracle's Recall@100."""
    log, events, catalog = logs.log, logs.events, logs.platform.catalog
    users = logs.platform.config.users
    relevant = window_positives(logs.platform, log, split=logs.cuts.test_time)
    listed = logs.truth.rank <= _RECALL_AT
    counts = np.bincount(events.event, minlength=len(EVENTS))
    in_test = events.timestamp >= logs.cuts.test_time
    after_train = catalog.upload_time[log.video[events.slot]] >= logs.cuts.validation_time
    train_positives = log.positive & (log.time_s < logs.cuts.validation_time)
    impressions = np.sort(np.bincount(log.video, minlength=len(catalog.creator)))[::-1]
    return {
        "events": len(events.slot),
        "events_by_type": {name: int(counts[code]) for code, name in enumerate(EVENTS)},
        "users": users,
        "videos": len(catalog.creator),
        "sessions": int(log.session.max()) + 1,
        "positives": int(log.positive.sum()),
        "train_positives_per_user": round(float(train_positives.sum()) / users, 2),
        "impressions_on_top_1_percent": round(
            float(impressions[: max(1, len(impressions) // 100)].sum() / len(log.video)), 4
        ),
        **dataclasses.asdict(logs.cuts),
        "test_events_on_videos_after_train": round(
            float((after_train & in_test).sum() / max(1, in_test.sum())), 4
        ),
        "test_users": len(np.unique(log.user[relevant])),
        f"oracle_recall_at_{_RECALL_AT}": mean_recall(
            users=log.user[relevant].astype(np.int64),
            videos=log.video[relevant].astype(np.int64),
            listed_users=logs.truth.user[listed],
            listed_videos=logs.truth.video[listed],
        ),
    }


def write_short_video(logs: ShortVideoLogs, directory: Path) -> None:
    """Writes events, videos, users and truth in the raw log contract.

    `signup_date` and `upload_time` are int64 UTC seconds, `signup_date` at any time of the day;
    `propensity` is the impression's, on each of its events; `watch_sec` is null but for a watch.
    """
    config = logs.platform.config
    user_id, video_id = names("u", config.users), names("v", config.videos)
    session_id = names("s", int(logs.log.session.max()) + 1)

    def shard(rows: slice) -> pa.Table:
        return _events(logs, rows, user_id=user_id, video_id=video_id, session_id=session_id)

    write_shards(
        shard,
        directory / "events",
        rows=len(logs.events.slot),
        rows_per_shard=config.events_per_shard,
        log_format=config.format,
    )
    truth = {
        "user_id": user_id.take(pa.array(logs.truth.user)),
        "rank": logs.truth.rank,
        "video_id": video_id.take(pa.array(logs.truth.video)),
        "expected": logs.truth.expected,
    }
    words = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(3,)))
    for name, columns in (
        ("videos", {"video_id": video_id, **video_columns(config, logs.platform.catalog, words)}),
        ("users", {"user_id": user_id, **_users(logs.platform.population)}),
        ("truth", truth),
    ):
        write_table(pa.table(columns), directory / name, config.format)


def _events(
    logs: ShortVideoLogs,
    rows: slice,
    *,
    user_id: pa.Array,
    video_id: pa.Array,
    session_id: pa.Array,
) -> pa.Table:
    log, catalog = logs.log, logs.platform.catalog
    slot, event = logs.events.slot[rows], logs.events.event[rows]
    video = log.video[slot]
    return pa.table(
        {
            "event": pa.array(EVENTS).take(pa.array(event)),
            "user_id": user_id.take(pa.array(log.user[slot])),
            "video_id": video_id.take(pa.array(video)),
            "timestamp": logs.events.timestamp[rows],
            "watch_sec": pa.array(log.watch_s[slot].astype(np.float64), mask=event != WATCH),
            "video_duration": catalog.duration_s[video],
            "position": log.position[slot].astype(np.int32),
            "device": pa.array(DEVICES).take(pa.array(log.device[slot])),
            "network": pa.array(NETWORKS).take(pa.array(log.network[slot])),
            "propensity": log.propensity[slot].astype(np.float64),
            "session_id": session_id.take(pa.array(log.session[slot])),
        }
    )


def video_columns(
    config: ShortVideoSimulation, catalog: Catalog, rng: np.random.Generator
) -> dict[str, Any]:
    """Columns of the videos table but `video_id`, in the order of the catalog."""
    titles, tags = make_titles_and_tags(catalog, rng)
    return {
        "creator_id": names("c", config.creators).take(pa.array(catalog.creator)),
        "title": titles,
        "category": pa.array(topics.CATEGORIES).take(pa.array(category_of(catalog.subtopic))),
        "tags": pa.array(tags, pa.list_(pa.string())),
        "language": pa.array(LANGUAGES).take(pa.array(catalog.language)),
        "duration_sec": catalog.duration_s,
        "upload_time": catalog.upload_time,
    }


def _users(population: Population) -> dict[str, Any]:
    countries = pa.array([country for pair in COUNTRIES for country in pair])
    return {
        "signup_date": population.signup_time,
        "country": countries.take(pa.array(2 * population.language + population.country)),
        "language": pa.array(LANGUAGES).take(pa.array(population.language)),
        "age": population.age.astype(np.int32),
        "gender": pa.array(GENDERS).take(pa.array(population.gender)),
        "subscription": pa.array(SUBSCRIPTIONS).take(pa.array(population.subscription)),
    }
