"""Simulates the short-video platform and writes its tables."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation import topics, truth
from preprocessing.simulation.catalog import (
    LANGUAGES,
    Catalog,
    category_of,
    make_catalog,
    make_titles_and_tags,
)
from preprocessing.simulation.log import (
    EVENTS,
    WATCH,
    EventOrder,
    SlotLog,
    cut_time,
    order_events,
    simulate_log,
)
from preprocessing.simulation.output import write_table
from preprocessing.simulation.population import (
    COUNTRIES,
    DEVICES,
    GENDERS,
    NETWORKS,
    SUBSCRIPTIONS,
    Population,
    make_population,
)

_RECALL_AT = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that was simulated.

    Attributes:
        catalog: the videos.
        population: the users.
        log: every impression.
        order: every event.
        validation_start: UTC seconds at which the validation period starts.
        test_start: UTC seconds at which the test period starts.
        oracle: the oracle's lists at `test_start`.
        simulated_s: wall-clock seconds, the oracle not counted.
    """

    catalog: Catalog
    population: Population
    log: SlotLog
    order: EventOrder
    validation_start: int
    test_start: int
    oracle: truth.Truth
    simulated_s: float


def simulate_world(
    config: ShortVideoSimulation, *, progress: Callable[[str, float], None]
) -> World:
    """Simulates everything; `progress` gets a stage's name and the share done since last called."""
    started = time.monotonic()
    catalog_seed, population_seed, log_seed = np.random.SeedSequence(config.seed).spawn(3)
    catalog = make_catalog(config, np.random.default_rng(catalog_seed))
    population = make_population(config, catalog, np.random.default_rng(population_seed))
    log = simulate_log(
        config,
        catalog,
        population,
        log_seed,
        advance=lambda share: progress("sessions", share),
    )
    order = order_events(log)
    simulated_s = time.monotonic() - started
    test_start = cut_time(order.timestamp, config.train_fraction + config.validation_fraction)
    return World(
        catalog=catalog,
        population=population,
        log=log,
        order=order,
        validation_start=cut_time(order.timestamp, config.train_fraction),
        test_start=test_start,
        oracle=truth.make_truth(
            config,
            catalog,
            population,
            log,
            split=test_start,
            advance=lambda share: progress("oracle", share),
        ),
        simulated_s=simulated_s,
    )


def write_world(config: ShortVideoSimulation, world: World, directory: Path) -> None:
    """Writes events, videos, users and truth in the raw log contract."""
    (directory / "events").mkdir()
    names = _Names(config, world)
    shards = -(-len(world.order.slot) // config.events_per_shard)
    for shard in range(shards):
        rows = slice(shard * config.events_per_shard, (shard + 1) * config.events_per_shard)
        write_table(
            _events(world, names, rows),
            directory / "events" / f"part-{shard:05d}-of-{shards:05d}",
            config.format,
        )
    videos_seed = np.random.SeedSequence([config.seed, 1])
    write_table(
        _videos(world.catalog, names, np.random.default_rng(videos_seed)),
        directory / "videos",
        config.format,
    )
    write_table(_users(world.population, names), directory / "users", config.format)
    oracle = world.oracle
    write_table(
        pa.table(
            {
                "user_id": names.users.take(pa.array(oracle.user)),
                "rank": oracle.rank,
                "video_id": names.videos.take(pa.array(oracle.video)),
                "expected": oracle.expected,
            }
        ),
        directory / "truth",
        config.format,
    )


def summarize(world: World) -> dict[str, Any]:
    """Figures of a simulated world, for simulation.json and the command's last line."""
    log, order, catalog = world.log, world.order, world.catalog
    relevant_users, relevant_videos = truth.relevant(catalog, log, split=world.test_start)
    top = world.oracle.rank <= _RECALL_AT
    counts = np.bincount(order.event, minlength=len(EVENTS))
    in_test = order.timestamp >= world.test_start
    new = catalog.upload_time[log.video[order.slot]] >= world.validation_start
    trained = log.positive & (log.time_s < world.validation_start)
    impressions = np.sort(np.bincount(log.video, minlength=len(catalog.creator)))[::-1]
    return {
        "events": len(order.slot),
        "events_by_type": {name: int(counts[code]) for code, name in enumerate(EVENTS)},
        "users": len(world.population.age),
        "videos": len(catalog.creator),
        "sessions": int(log.session.max(initial=-1)) + 1,
        "positives": int(log.positive.sum()),
        "train_positives_per_user": float(trained.sum() / len(world.population.age)),
        "impressions_of_top_1_percent": float(
            impressions[: max(1, len(impressions) // 100)].sum() / max(1, len(log.video))
        ),
        "validation_start": world.validation_start,
        "test_start": world.test_start,
        "test_events_on_videos_after_train": float(new[in_test].mean()) if in_test.any() else 0.0,
        "test_users": len(np.unique(relevant_users)),
        "oracle_recall_at_100": truth.recall(
            relevant_users,
            relevant_videos,
            listed_users=world.oracle.user[top],
            listed_videos=world.oracle.video[top],
            num_videos=len(catalog.creator),
        ),
        "events_per_minute": round(len(order.slot) / world.simulated_s * 60),
    }


class _Names:
    """Ids as strings, each made once."""

    def __init__(self, config: ShortVideoSimulation, world: World) -> None:
        self.users = _ids("u", config.users)
        self.videos = _ids("v", config.videos)
        self.creators = _ids("c", config.creators)
        self.sessions = _ids("s", int(world.log.session.max(initial=-1)) + 1)


def _ids(prefix: str, count: int) -> pa.Array:
    return pa.array([f"{prefix}_{number}" for number in range(count)], pa.string())


def _events(world: World, names: _Names, rows: slice) -> pa.Table:
    log = world.log
    slot, event = world.order.slot[rows], world.order.event[rows]
    return pa.table(
        {
            "event": pa.array(EVENTS).take(pa.array(event)),
            "user_id": names.users.take(pa.array(log.user[slot])),
            "video_id": names.videos.take(pa.array(log.video[slot])),
            "timestamp": world.order.timestamp[rows],
            "watch_sec": pa.array(log.watch_s[slot].astype(np.float64), mask=event != WATCH),
            "video_duration": world.catalog.duration_s[log.video[slot]],
            "position": log.position[slot].astype(np.int32),
            "device": pa.array(DEVICES).take(pa.array(log.device[slot])),
            "network": pa.array(NETWORKS).take(pa.array(log.network[slot])),
            "propensity": log.propensity[slot].astype(np.float64),
            "session_id": names.sessions.take(pa.array(log.session[slot])),
        }
    )


def _videos(catalog: Catalog, names: _Names, rng: np.random.Generator) -> pa.Table:
    titles, tags = make_titles_and_tags(catalog, rng)
    return pa.table(
        {
            "video_id": names.videos,
            "creator_id": names.creators.take(pa.array(catalog.creator)),
            "title": titles,
            "category": pa.array(topics.CATEGORIES).take(pa.array(category_of(catalog.subtopic))),
            "tags": pa.array(tags, pa.list_(pa.string())),
            "language": pa.array(LANGUAGES).take(pa.array(catalog.language)),
            "duration_sec": catalog.duration_s,
            "upload_time": catalog.upload_time,
        }
    )


def _users(population: Population, names: _Names) -> pa.Table:
    countries = pa.array([country for pair in COUNTRIES for country in pair])
    return pa.table(
        {
            "user_id": names.users,
            "signup_date": population.signup_time,
            "country": countries.take(pa.array(2 * population.language + population.country)),
            "language": pa.array(LANGUAGES).take(pa.array(population.language)),
            "age": population.age.astype(np.int32),
            "gender": pa.array(GENDERS).take(pa.array(population.gender)),
            "subscription": pa.array(SUBSCRIPTIONS).take(pa.array(population.subscription)),
        }
    )
