"""The whole log: blocks of users simulated side by side, then put in time order."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from preprocessing.simulation.arrays import Bools, Ints, concatenate
from preprocessing.simulation.platform import Platform
from preprocessing.simulation.policy import DayPolicy
from preprocessing.simulation.sessions import simulate_block

EVENTS: tuple[str, ...] = ("impression", "click", "watch", "like", "share", "dislike", "report")
_CLICK, WATCH = EVENTS.index("click"), EVENTS.index("watch")

# Users in a block: its weights, [block, videos] float32, are what memory it needs.
_BLOCK = 128
_CLICK_DELAY_S = 1.0

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Every impression and what came of it, by user and then in time order; arrays [num_slots].

    Attributes:
        user: int32.
        video: int32.
        session: int32, unique over users.
        position: int16, from 0 within the session.
        propensity: float32, in (0, 1].
        time_s: float64, UTC seconds of the impression.
        device: int8, index into `population.DEVICES`.
        network: int8, index into `population.NETWORKS`.
        watch_s: float32, seconds.
        happened: [num_slots, len(EVENTS)] bool, which events each slot logged.
        positive: bool.
    """

    user: npt.NDArray[np.int32]
    video: npt.NDArray[np.int32]
    session: npt.NDArray[np.int32]
    position: npt.NDArray[np.int16]
    propensity: npt.NDArray[np.float32]
    time_s: npt.NDArray[np.float64]
    device: npt.NDArray[np.int8]
    network: npt.NDArray[np.int8]
    watch_s: npt.NDArray[np.float32]
    happened: Bools
    positive: Bools


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events in time order; arrays [num_events].

    Attributes:
        slot: int64, index into the log.
        event: int8, index into `EVENTS`.
        timestamp: int64, UTC seconds, never falling.
    """

    slot: Ints
    event: npt.NDArray[np.int8]
    timestamp: Ints


def in_threads(work: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
    """Results in the order of the inputs, made on all cores; NumPy frees the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(work, inputs)


def simulate_log(
    platform: Platform,
    days: list[DayPolicy],
    seed: np.random.SeedSequence,
    *,
    advance: Callable[[float], None],
) -> Log:
    """Simulates all users.

    Args:
        platform: what is simulated.
        days: the policy of every day of the log.
        seed: every block of users draws from its own child, so that threads change nothing.
        advance: called with the share of users done since the last call.
    """
    count = platform.config.users
    starts = range(0, count, _BLOCK)
    blocks = [np.arange(start, min(start + _BLOCK, count)) for start in starts]

    def run(block: tuple[Ints, np.random.SeedSequence]) -> Log:
        users, block_seed = block
        return _block_log(platform, days, users=users, rng=np.random.default_rng(block_seed))

    parts: list[Log] = []
    sessions = 0
    for users, part in zip(
        blocks,
        in_threads(run, zip(blocks, seed.spawn(len(blocks)), strict=True)),
        strict=True,
    ):
        parts.append(dataclasses.replace(part, session=part.session + np.int32(sessions)))
        sessions += int(part.session.max(initial=-1)) + 1
        advance(len(users) / count)
    return concatenate(parts)


def _block_log(
    platform: Platform, days: list[DayPolicy], *, users: Ints, rng: np.random.Generator
) -> Log:
    slots, responses = simulate_block(platform, days, users=users, rng=rng)
    return Log(
        user=slots.user.astype(np.int32),
        video=slots.video.astype(np.int32),
        session=slots.session.astype(np.int32),
        position=slots.position.astype(np.int16),
        propensity=slots.propensity.astype(np.float32),
        time_s=slots.time_s,
        device=slots.device.astype(np.int8),
        network=slots.network.astype(np.int8),
        watch_s=responses.watch_s.astype(np.float32),
        # In the order of EVENTS; every click starts a watch.
        happened=np.stack(
            [
                np.ones(len(slots.user), dtype=np.bool_),
                responses.click,
                responses.click,
                responses.like,
                responses.share,
                responses.dislike,
                responses.report,
            ],
            axis=1,
        ),
        positive=responses.positive(platform.catalog.duration_s[slots.video]),
    )


def order_events(log: Log) -> Events:
    """Every event, in time order; ties by user, impression, and then as in `EVENTS`."""
    slot, event = np.nonzero(log.happened)
    delay = np.where(event >= _CLICK, _CLICK_DELAY_S, 0.0)
    delay += np.where(event >= WATCH, log.watch_s[slot], 0.0)
    timestamp = np.floor(log.time_s[slot] + delay).astype(np.int64)
    order = np.argsort(timestamp, kind="stable")
    return Events(slot=slot[order], event=event[order].astype(np.int8), timestamp=timestamp[order])
