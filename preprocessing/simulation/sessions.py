"""A block of users through the whole log: sessions, slots, responses, times."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.simulation import behaviour
from preprocessing.simulation.catalog import (
    DAY_S,
    Catalog,
    Doubles,
    Floats,
    Ints,
    log_duration_ratio,
)
from preprocessing.simulation.policy import DayPolicy, show
from preprocessing.simulation.population import (
    DEVICE_SHARES,
    NETWORK_SHARES,
    Population,
    weekday_factor,
)

# P(a session is on the user's usual device).
_USUAL_DEVICE = 0.85
_GAP_S = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Impressions and what came of them, by user and then in time order; arrays [num_slots].

    Attributes:
        user: int64.
        video: int64.
        session: int64, numbered from 0.
        position: int64, from 0 within the session.
        propensity: float64.
        time_s: float64, UTC seconds of the impression.
        device: int64, index into `population.DEVICES`.
        network: int64, index into `population.NETWORKS`.
        responses: what happened.
    """

    user: Ints
    video: Ints
    session: Ints
    position: Ints
    propensity: Doubles
    time_s: Doubles
    device: Ints
    network: Ints
    responses: behaviour.Responses


def taste(
    config: ShortVideoSimulation,
    catalog: Catalog,
    population: Population,
    *,
    vectors: Floats,
    users: Ints,
    videos: Ints,
) -> Doubles:
    """Taste of each user for each video, pairwise: [num_pairs] float64.

    Args:
        config: the simulation.
        catalog: the videos.
        population: the users.
        vectors: [num_pairs, taste_dim] float32, the users' tastes at the time.
        users: [num_pairs] int64.
        videos: [num_pairs] int64.
    """
    match = np.einsum("nd,nd->n", vectors, catalog.vectors[videos], dtype=np.float64)
    foreign = population.language[users] != catalog.language[videos]
    return match - config.language_gap * foreign


def simulate_block(
    config: ShortVideoSimulation,
    catalog: Catalog,
    population: Population,
    days: Sequence[DayPolicy],
    *,
    users: Ints,
    rng: np.random.Generator,
) -> Slots:
    """Simulates the users of one block, independent of all others; sessions numbered from 0."""
    shown = np.zeros((len(users), config.videos), dtype=np.bool_)
    shown_count = np.zeros(len(users), dtype=np.int64)
    rows_so_far: list[Ints] = []
    videos_so_far: list[Ints] = []
    propensities: list[Doubles] = []
    tastes: list[Doubles] = []
    session_parts: list[Ints] = []
    session_user: list[Ints] = []
    session_start: list[Doubles] = []
    sessions = 0
    for number, day in enumerate(days):
        day_start = config.start + number * DAY_S
        rate = population.sessions_per_day[users] * weekday_factor(day_start)
        rate[population.signup_time[users] > day_start] = 0
        count = rng.poisson(rate)
        owner = np.repeat(np.arange(len(users)), count)
        length = np.minimum(
            rng.geometric(1 / config.impressions_per_session, size=len(owner)), config.session_max
        )
        start = day_start + _start_of_day_s(rng, len(owner))
        start = start[np.lexsort((start, owner))]
        # A platform that never repeats must not run dry: at most half of what is up is shown.
        left = day.available // 2 - shown_count
        length = _truncate(length, owner, left)
        slots = np.bincount(owner, weights=length, minlength=len(users)).astype(np.int64)
        shown_count += slots
        active = np.flatnonzero(slots)
        if not len(active):
            continue
        weights = day.taste_weights(population, users[active])
        mixture = day.mixture(weights)
        place = np.full(len(users), -1)
        place[active] = np.arange(len(active))
        earlier = np.zeros(len(active))
        if rows_so_far:
            past_row = place[np.concatenate(rows_so_far)]
            past_video = np.concatenate(videos_so_far)[past_row >= 0]
            past_row = past_row[past_row >= 0]
            earlier = np.bincount(
                past_row,
                weights=mixture.probability(past_row, past_video),
                minlength=len(active),
            )
        result = show(mixture, slots[active], shown[active], earlier, rng)
        block_row = active[result.row]
        shown[block_row, result.video] = True
        rows_so_far.append(block_row)
        videos_so_far.append(result.video)
        propensities.append(result.propensity)
        tastes.append(
            taste(
                config,
                catalog,
                population,
                vectors=population.taste(users[active], day.progress)[result.row],
                users=users[block_row],
                videos=result.video,
            )
        )
        kept = length > 0
        session_parts.append(sessions + np.repeat(np.arange(kept.sum()), length[kept]))
        session_user.append(owner[kept])
        session_start.append(start[kept])
        sessions += int(kept.sum())
    return _assemble(
        config,
        catalog,
        population,
        users=users,
        row=_join(rows_so_far),
        video=_join(videos_so_far),
        propensity=np.concatenate([np.empty(0), *propensities]),
        tastes=np.concatenate([np.empty(0), *tastes]),
        session=_join(session_parts),
        session_row=_join(session_user),
        session_start=np.concatenate([np.empty(0), *session_start]),
        rng=rng,
    )


def _join(parts: list[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _start_of_day_s(rng: np.random.Generator, count: int) -> Doubles:
    """Seconds after midnight at which sessions start: an evening peak over a flat floor."""
    evening = np.mod(rng.normal(19.5, 2.5, size=count), 23.5)
    flat = rng.uniform(6.5, 23.5, size=count)
    return 3600 * np.where(rng.random(count) < 0.6, evening, flat)


def _truncate(length: Ints, owner: Ints, left: Ints) -> Ints:
    """Cuts session lengths so that no owner's sum exceeds what is left."""
    if not len(length):
        return length
    ends = np.cumsum(length)
    begins = ends - length
    first = np.searchsorted(owner, owner)
    before = begins - begins[first]
    return np.clip(left[owner] - before, 0, length)


def _assemble(
    config: ShortVideoSimulation,
    catalog: Catalog,
    population: Population,
    *,
    users: Ints,
    row: Ints,
    video: Ints,
    propensity: Doubles,
    tastes: Doubles,
    session: Ints,
    session_row: Ints,
    session_start: Doubles,
    rng: np.random.Generator,
) -> Slots:
    starts = np.searchsorted(session, np.arange(len(session_start)))
    position = np.arange(len(session)) - starts[session]
    duration_s = catalog.duration_s[video]
    given = behaviour.chances(
        config,
        taste=tastes,
        quality=catalog.quality[video],
        log_duration=log_duration_ratio(duration_s),
    )
    responses = behaviour.respond(config, given, position=position, duration_s=duration_s, rng=rng)
    passed = np.cumsum(responses.dwell_s)
    passed -= responses.dwell_s
    since_start = passed - passed[starts][session] if len(session) else passed
    span = np.bincount(session, weights=responses.dwell_s, minlength=len(session_start))
    session_start = _without_overlap(session_start, span + _GAP_S, session_row)
    device = np.where(
        rng.random(len(session_start)) < _USUAL_DEVICE,
        population.device[users[session_row]],
        rng.choice(len(DEVICE_SHARES), size=len(session_start), p=DEVICE_SHARES),
    )
    network = rng.choice(len(NETWORK_SHARES), size=len(session_start), p=NETWORK_SHARES)
    order = np.argsort(row, kind="stable")
    picked = session[order]
    return Slots(
        user=users[row[order]],
        video=video[order],
        session=picked,
        position=position[order],
        propensity=propensity[order],
        time_s=(session_start[session] + since_start)[order],
        device=device[picked],
        network=network[picked],
        responses=behaviour.Responses(
            click=responses.click[order],
            watch_s=responses.watch_s[order],
            like=responses.like[order],
            share=responses.share[order],
            dislike=responses.dislike[order],
            report=responses.report[order],
            dwell_s=responses.dwell_s[order],
        ),
    )


def _without_overlap(start: Doubles, span: Doubles, owner: Ints) -> Doubles:
    """Delays sessions, given day by day, that would start before the owner's last has ended."""
    order = np.argsort(owner, kind="stable")
    begun, lasted, owners = start[order], span[order], owner[order]
    # start[k] = max(wanted[k], start[k-1] + span[k-1]) is a running maximum once the spans
    # before k are taken off; a step between owners larger than any time keeps them apart.
    before = np.cumsum(lasted) - lasted
    step = owners * (2.0 * (np.ptp(begun) + lasted.sum()) + 1.0) if len(start) else 0.0
    moved = np.maximum.accumulate(begun - before + step) - step + before
    result = np.empty_like(start)
    result[order] = moved
    return result
