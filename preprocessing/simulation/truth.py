"""The oracle: what a user will be shown and like after the split, by the simulation itself."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation import behaviour
from preprocessing.simulation.catalog import (
    DAY_S,
    Catalog,
    Doubles,
    Ints,
    log_duration_ratio,
)
from preprocessing.simulation.log import SlotLog
from preprocessing.simulation.policy import DayPolicy
from preprocessing.simulation.population import Population, weekday_factor
from preprocessing.simulation.sessions import taste

_BLOCK = 64
# Only this many of the likeliest exposures, times `truth_depth`, are weighed by P(positive).
_SHORTLIST = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The oracle's lists, by user and then by rank.

    Attributes, arrays [num_rows]:
        user: int64.
        rank: int64, from 1.
        video: int64.
        expected: float64, P(shown in the test period) * P(positive | shown).
    """

    user: Ints
    rank: Ints
    video: Ints
    expected: Doubles


def make_truth(
    config: ShortVideoSimulation,
    catalog: Catalog,
    population: Population,
    log: SlotLog,
    *,
    split: int,
    advance: Callable[[float], None],
) -> Truth:
    """The oracle at the split, for users with a positive after it.

    P(shown) = 1 - exp(-expected number of times it would be drawn by the end of the log), with
    each remaining day's own policy and taste, and the mass of what was shown before the split
    taken out. P(positive | shown) is for an average position and the taste half way through.
    Candidates: videos uploaded before the split and not shown to the user before it.

    Args:
        config: the simulation.
        catalog: the videos.
        population: the users.
        log: all that happened.
        split: UTC seconds at which the test period starts.
        advance: called with the share of users done since the last call.
    """
    before = log.time_s < split
    users = np.unique(log.user[log.positive & ~before]).astype(np.int64)
    first_day = (split - config.start) // DAY_S
    days = [DayPolicy(config, catalog, day=day) for day in range(first_day, config.days)]
    busy = []
    for number in range(first_day, config.days):
        day_start = config.start + number * DAY_S
        left = min(1.0, (day_start + DAY_S - split) / DAY_S)
        busy.append(left * weekday_factor(day_start))
    candidates = int(np.searchsorted(catalog.upload_time, split))
    shown_user = log.user[before]
    shown_video = log.video[before]
    starts = np.searchsorted(shown_user, np.arange(config.users + 1))
    look = _mean_look(config)
    halfway = (first_day + config.days) / 2 / config.days

    def run(block: Ints) -> Truth:
        rate = population.sessions_per_day[block] * _mean_session_length(config)
        exposure = np.zeros((len(block), candidates))
        row = np.repeat(np.arange(len(block)), starts[block + 1] - starts[block])
        video = np.concatenate([shown_video[starts[u] : starts[u + 1]] for u in block])
        for day, factor in zip(days, busy, strict=True):
            mixture = day.mixture(day.taste_weights(population, block))
            taken = np.bincount(row, weights=mixture.probability(row, video), minlength=len(block))
            width = min(day.available, candidates)
            scale = factor * rate / (1 - taken)
            exposure[:, :width] += scale[:, np.newaxis] * mixture.dense_probability()[:, :width]
        exposure[row, video] = 0
        depth = min(config.truth_depth, candidates)
        shortlist = min(_SHORTLIST * depth, candidates)
        likely = np.argpartition(exposure, candidates - shortlist, axis=1)[:, -shortlist:]
        rows = np.repeat(np.arange(len(block)), shortlist)
        videos = likely.ravel()
        given = behaviour.chances(
            config,
            taste=taste(
                config,
                catalog,
                population,
                vectors=population.taste(block, halfway)[rows],
                users=block[rows],
                videos=videos,
            ),
            quality=catalog.quality[videos],
            log_duration=log_duration_ratio(catalog.duration_s[videos]),
        )
        positive = look * behaviour.positive_probability(config, given)
        expected = (-np.expm1(-exposure[rows, videos]) * positive).reshape(likely.shape)
        order = np.argsort(-expected, axis=1, kind="stable")[:, :depth]
        return Truth(
            user=np.repeat(block, depth),
            rank=np.tile(np.arange(1, depth + 1), len(block)),
            video=np.take_along_axis(likely, order, axis=1).ravel(),
            expected=np.take_along_axis(expected, order, axis=1).ravel(),
        )

    blocks = [users[begin : begin + _BLOCK] for begin in range(0, len(users), _BLOCK)]
    parts: list[Truth] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for block, part in zip(blocks, pool.map(run, blocks), strict=True):
            parts.append(part)
            advance(len(block) / len(users))
    return Truth(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Truth)
        }
    )


def relevant(catalog: Catalog, log: SlotLog, *, split: int) -> tuple[Ints, Ints]:
    """What a window query at the split is judged by.

    Returns:
        users and videos, [num_relevant] int64 each: the positives shown after the split, of
        videos uploaded before it.
    """
    chosen = log.positive & (log.time_s >= split) & (catalog.upload_time[log.video] < split)
    return log.user[chosen].astype(np.int64), log.video[chosen].astype(np.int64)


def recall(
    relevant_users: Ints,
    relevant_videos: Ints,
    *,
    listed_users: Ints,
    listed_videos: Ints,
    num_videos: int,
) -> float:
    """Mean over users of the share of their relevant videos that are in their lists."""
    listed = listed_users * num_videos + listed_videos
    hit = np.isin(relevant_users * num_videos + relevant_videos, listed)
    _, place = np.unique(relevant_users, return_inverse=True)
    return float(np.mean(np.bincount(place, weights=hit) / np.bincount(place)))


def _session_lengths(config: ShortVideoSimulation) -> Doubles:
    """P(session longer than n), n = 0 ... session_max - 1, of the capped geometric."""
    return (1 - 1 / config.impressions_per_session) ** np.arange(config.session_max)


def _mean_session_length(config: ShortVideoSimulation) -> float:
    return float(_session_lengths(config).sum())


def _mean_look(config: ShortVideoSimulation) -> float:
    """P(looked at) averaged over slots."""
    share = _session_lengths(config)
    look = behaviour.look_probability(config, np.arange(config.session_max))
    return float((share * look).sum() / share.sum())
