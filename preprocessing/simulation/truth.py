"""The oracle: what a user will be shown and like after the split, by the simulation itself."""

import dataclasses
from collections.abc import Callable

import numpy as np

from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.arrays import Bools, Doubles, Floats, Ints, concatenate, take
from preprocessing.simulation.behaviour import look_probability, positive_probability
from preprocessing.simulation.log import Log, in_threads
from preprocessing.simulation.platform import Platform
from preprocessing.simulation.policy import DayPolicy
from preprocessing.simulation.population import weekday_factor
from preprocessing.simulation.sessions import (
    mean_session_length,
    reach,
    share_of_sessions_after,
)

_BLOCK = 64
# P(positive) is worked out for the likeliest exposures only, this many times `truth_depth`: it
# varies far less than P(shown), and those further down could not reach the list.
_SHORTLIST = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The oracle's lists, by user and then by rank; arrays [num_rows].

    Attributes:
        user: int64.
        rank: int64, from 1.
        video: int64.
        expected: float64, P(shown in the test period) * P(positive | shown), falling with rank.
    """

    user: Ints
    rank: Ints
    video: Ints
    expected: Doubles


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Future:
    """What is left of the log at the split.

    Attributes:
        days: policies of the days left, the one that the split cuts included.
        weight: [len(days)] float64, sessions relative to an average whole day.
        candidates: videos uploaded before the split: the first so many of the catalog.
        progress: share of the log that has passed half way through what is left.
    """

    days: list[DayPolicy]
    weight: Doubles
    candidates: int
    progress: float


def make_truth(
    platform: Platform,
    days: list[DayPolicy],
    log: Log,
    *,
    users: Ints,
    split: int,
    advance: Callable[[float], None],
) -> Truth:
    """The oracle at the split.

    P(shown) is over the days left, with each day's policy and the user's taste by then; what was
    shown before is out. Sessions come as a Poisson process and their lengths are geometric, so with
    p a slot's chance of the video and m the mean length, independent slots would show it in a
    session with chance m p / (1 + (m - 1) p); this is scaled up to what slots that never repeat
    show. P(positive | shown) is for an average position, with the taste half way through.
    Candidates: videos uploaded before the split and not shown to the user before it.

    Args:
        platform: what was simulated.
        days: the policy of every day of the log.
        log: all that happened.
        users: [num_users] int64, whose lists to make.
        split: UTC second at which the test period begins.
        advance: called with the share of users done since the last call.
    """
    before = log.time_s < split
    future = _future(platform, days, split=split)
    video = log.video[before].astype(np.int64)
    bounds = np.searchsorted(log.user[before], np.arange(platform.config.users + 1))

    def run(block: Ints) -> Truth:
        lengths = bounds[block + 1] - bounds[block]
        return _lists(
            platform,
            future,
            users=block,
            shown_row=np.repeat(np.arange(len(block)), lengths),
            shown_video=np.concatenate([video[bounds[u] : bounds[u + 1]] for u in block]),
        )

    blocks = [users[start : start + _BLOCK] for start in range(0, len(users), _BLOCK)]
    nobody = np.empty(0, dtype=np.int64)
    parts = [Truth(user=nobody, rank=nobody, video=nobody, expected=np.empty(0))]
    for block, part in zip(blocks, in_threads(run, blocks), strict=True):
        parts.append(part)
        advance(len(block) / len(users))
    return concatenate(parts)


def _future(platform: Platform, days: list[DayPolicy], *, split: int) -> _Future:
    config = platform.config
    first = min(max(0, (split - config.start) // SECONDS_PER_DAY), config.days - 1)
    weight = []
    for number in range(first, config.days):
        day_start = config.start + number * SECONDS_PER_DAY
        left = share_of_sessions_after(max(0, split - day_start) / 3_600)
        weight.append(left * weekday_factor(day_start))
    return _Future(
        days=days[first:],
        weight=np.array(weight),
        candidates=int(np.searchsorted(platform.catalog.upload_time, split)),
        progress=(first + config.days) / 2 / config.days,
    )


def _lists(
    platform: Platform, future: _Future, *, users: Ints, shown_row: Ints, shown_video: Ints
) -> Truth:
    """The lists of a block of users, given what each was shown before the split."""
    rate = _expected_showings(
        platform, future, users=users, shown_row=shown_row, shown_video=shown_video
    )
    depth = min(platform.config.truth_depth, future.candidates)
    shortlist = min(_SHORTLIST * depth, future.candidates)
    likely = np.argpartition(rate, future.candidates - shortlist, axis=1)[:, -shortlist:]
    row = np.repeat(np.arange(len(users)), shortlist)
    video = likely.ravel()
    vectors = platform.population.taste(users, future.progress)[row]
    taste = platform.taste(vectors, users=users[row], videos=video)
    positive = positive_probability(platform.config, platform.chances(taste, videos=video))
    shown = -np.expm1(-rate[row, video].astype(np.float64))
    expected = (shown * positive * _mean_look(platform)).reshape(likely.shape)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :depth]
    truth = Truth(
        user=np.repeat(users, depth),
        rank=np.tile(np.arange(1, depth + 1), len(users)),
        video=np.take_along_axis(likely, order, axis=1).ravel(),
        expected=np.take_along_axis(expected, order, axis=1).ravel(),
    )
    # A small catalog may have fewer candidates left than the list is long.
    return take(truth, truth.expected > 0)


def _expected_showings(
    platform: Platform, future: _Future, *, users: Ints, shown_row: Ints, shown_video: Ints
) -> Floats:
    """Expected number of sessions that show each candidate, [num_users, candidates] float32.

    Of independent sessions, as if a video could be shown again: so P(shown) = 1 - exp(-number).
    """
    length = np.float32(mean_session_length(platform))
    total = np.zeros((len(users), future.candidates), dtype=np.float32)
    for day, weight in zip(future.days, future.weight, strict=True):
        sessions = (weight * platform.population.sessions_per_day[users]).astype(np.float32)
        mixture = day.mixture(platform.population, users)
        mass = mixture.probability(shown_row, shown_video)
        unseen = 1 - np.bincount(shown_row, weights=mass, minlength=len(users))
        width = min(day.available, future.candidates)
        slot = mixture.all_probabilities()[:, :width]
        slot[shown_row, shown_video] = 0

        new = slot * np.exp(-total[:, :width])
        mass_new = new.sum(axis=1, dtype=np.float64)
        left = unseen - slot.sum(axis=1, dtype=np.float64) + mass_new
        chance = slot / left.astype(np.float32)[:, np.newaxis]
        showings = sessions[:, np.newaxis] * length * chance / (1 + (length - 1) * chance)
        # Slots never repeat a video, so they show as many new ones as there are slots.
        slots = sessions * length * (mass_new / left)
        found = (np.exp(-total[:, :width]) * -np.expm1(-showings)).sum(axis=1, dtype=np.float64)
        # Nothing is found where no session is left in the day.
        scale = np.divide(slots, found, out=np.ones_like(found), where=found > 0)
        showings *= scale.astype(np.float32)[:, np.newaxis]
        total[:, :width] += showings
    return total


def _mean_look(platform: Platform) -> float:
    """P(looked at) averaged over slots."""
    share = reach(platform)
    look = look_probability(platform.config, np.arange(len(share)))
    return float((share * look).sum() / share.sum())


def users_with_positives_after(log: Log, split: int) -> Ints:
    """Users with a positive on anything shown after the split, ascending; int64."""
    return np.unique(log.user[log.positive & (log.time_s >= split)]).astype(np.int64)


def window_positives(platform: Platform, log: Log, *, split: int) -> Bools:
    """Which slots a query of each user at the split is judged by: [num_slots] bool.

    They are the positives shown after the split, of videos uploaded before it.
    """
    known = platform.catalog.upload_time[log.video] < split
    return log.positive & (log.time_s >= split) & known


def mean_recall(
    *, users: Ints, videos: Ints, listed_users: Ints, listed_videos: Ints
) -> float | None:
    """Mean over users of the share of their relevant videos that their lists hold.

    Args:
        users: [num_relevant] int64, with `videos` the pairs that are relevant, each once.
        videos: [num_relevant] int64.
        listed_users: [num_listed] int64, with `listed_videos` the pairs that are listed.
        listed_videos: [num_listed] int64.

    Returns:
        In [0, 1]; None if nothing is relevant.
    """
    if not len(users):
        return None
    width = 1 + max(int(videos.max()), int(listed_videos.max(initial=0)))
    hit = np.isin(users * width + videos, listed_users * width + listed_videos)
    _, place = np.unique(users, return_inverse=True)
    return float(np.mean(np.bincount(place, weights=hit) / np.bincount(place)))
