"""The whole log: blocks of users simulated side by side, then put in time order."""

import dataclasses
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation.catalog import Catalog, Ints
from preprocessing.simulation.policy import Bools, DayPolicy
from preprocessing.simulation.population import Population
from preprocessing.simulation.sessions import Slots, simulate_block

EVENTS: tuple[str, ...] = ("impression", "click", "watch", "like", "share", "dislike", "report")
IMPRESSION, CLICK, WATCH, LIKE, SHARE, DISLIKE, REPORT = range(len(EVENTS))

# Users in a block: its matrix of weights, [block, videos] float32, should stay in cache.
_BLOCK = 128
_CLICK_DELAY_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SlotLog:
    """Every impression and what came of it, by user and then in time order.

    Attributes, arrays [num_slots]:
        user: int32.
        video: int32.
        session: int32, unique over users.
        position: int16.
        propensity: float32.
        time_s: float64, UTC seconds of the impression.
        device: int8.
        network: int8.
        watch_s: float32.
        responded: [num_slots, len(EVENTS)] bool, which events each slot logged.
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
    responded: Bools
    positive: Bools


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventOrder:
    """Events in time order.

    Attributes, arrays [num_events]:
        slot: int64, index into the slots.
        event: int8, index into `EVENTS`.
        timestamp: int64, UTC seconds, never falling.
    """

    slot: Ints
    event: npt.NDArray[np.int8]
    timestamp: Ints


def simulate_log(
    config: ShortVideoSimulation,
    catalog: Catalog,
    population: Population,
    seed: np.random.SeedSequence,
    *,
    advance: Callable[[float], None],
) -> SlotLog:
    """Simulates all users.

    Args:
        config: the simulation.
        catalog: the videos.
        population: the users.
        seed: every block of users draws from its own child, so threads change nothing.
        advance: called with the share of users done since the last call.
    """
    days = [DayPolicy(config, catalog, day=day) for day in range(config.days)]
    blocks = [
        np.arange(begin, min(begin + _BLOCK, config.users))
        for begin in range(0, config.users, _BLOCK)
    ]
    children = seed.spawn(len(blocks))

    def run(number: int) -> SlotLog:
        rng = np.random.default_rng(children[number])
        slots = simulate_block(config, catalog, population, days, users=blocks[number], rng=rng)
        return _compact(slots, catalog)

    parts: list[SlotLog] = []
    sessions = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for number, part in enumerate(pool.map(run, range(len(blocks)))):
            parts.append(dataclasses.replace(part, session=part.session + np.int32(sessions)))
            sessions += int(part.session.max(initial=-1)) + 1
            advance(len(blocks[number]) / config.users)
    return SlotLog(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(SlotLog)
        }
    )


def _compact(slots: Slots, catalog: Catalog) -> SlotLog:
    responses = slots.responses
    responded = np.stack(
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
    )
    return SlotLog(
        user=slots.user.astype(np.int32),
        video=slots.video.astype(np.int32),
        session=slots.session.astype(np.int32),
        position=slots.position.astype(np.int16),
        propensity=slots.propensity.astype(np.float32),
        time_s=slots.time_s,
        device=slots.device.astype(np.int8),
        network=slots.network.astype(np.int8),
        watch_s=responses.watch_s.astype(np.float32),
        responded=responded,
        positive=responses.positive(catalog.duration_s[slots.video]),
    )


def order_events(log: SlotLog) -> EventOrder:
    """Every event of every slot, in time order; ties in the order of slots, then of `EVENTS`."""
    slot, event = np.nonzero(log.responded)
    delay = np.where(event >= CLICK, _CLICK_DELAY_S, 0.0)
    delay += np.where(event >= WATCH, log.watch_s[slot], 0.0)
    timestamp = np.floor(log.time_s[slot] + delay).astype(np.int64)
    order = np.argsort(timestamp, kind="stable")
    return EventOrder(
        slot=slot[order], event=event[order].astype(np.int8), timestamp=timestamp[order]
    )


def cut_time(timestamp: Ints, fraction: float) -> int:
    """The smallest integer t with at least `fraction` of the events earlier than t.

    Args:
        timestamp: [num_events] int64, sorted, not empty.
        fraction: in (0, 1].
    """
    # Rounded, so that 0.8 + 0.1 counts as 0.9.
    count = max(1, math.ceil(round(fraction * len(timestamp), 6)))
    return int(timestamp[min(count, len(timestamp)) - 1]) + 1
