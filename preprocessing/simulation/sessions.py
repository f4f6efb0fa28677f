"""A block of users through the whole log: sessions, slots, responses, times."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation.arrays import Doubles, Ints, concatenate, take
from preprocessing.simulation.behaviour import Responses, respond
from preprocessing.simulation.platform import Platform
from preprocessing.simulation.policy import DayPolicy, Mixture, show
from preprocessing.simulation.population import DEVICE_SHARES, NETWORK_SHARES, weekday_factor

# P(a session is on the user's usual device).
_USUAL_DEVICE = 0.85
# Share of sessions around the evening peak, and the hours of the rest.
_EVENING = 0.6
_EVENING_HOUR, _EVENING_SIGMA_H = 19.5, 2.5
_DAY_HOURS = (6.5, 23.5)
# Least time between two sessions of a user.
_GAP_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Impressions, by user and then in time order; arrays [num_slots].

    Attributes:
        user: int64.
        video: int64.
        session: int64, numbered from 0 within the block.
        position: int64, from 0 within the session.
        propensity: float64, in (0, 1].
        time_s: float64, UTC seconds of the impression.
        device: int64, index into `population.DEVICES`.
        network: int64, index into `population.NETWORKS`.
    """

    user: Ints
    video: Ints
    session: Ints
    position: Ints
    propensity: Doubles
    time_s: Doubles
    device: Ints
    network: Ints


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Visits:
    """Sessions of one day, by row and then by start; arrays [num_sessions]."""

    row: Ints
    start_s: Doubles
    length: Ints


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """What was shown, in the order of visits; arrays [num_slots]."""

    row: Ints
    video: Ints
    propensity: Doubles
    taste: Doubles


def mean_session_length(platform: Platform) -> float:
    """Mean of the cut geometric length of sessions."""
    return float(reach(platform).sum())


def reach(platform: Platform) -> Doubles:
    """P(a session is longer than n), [session_max] float64."""
    config = platform.config
    return np.power(1 - 1 / config.impressions_per_session, np.arange(config.session_max))


def share_of_sessions_after(hour: float) -> float:
    """Expected share of a day's sessions that start after the UTC hour, 0 to 24."""
    low, high = _DAY_HOURS
    # The evening's normal is wrapped to a day of `high` hours.
    wraps = high * np.arange(-1, 3)[:, np.newaxis]
    z = (wraps + np.array([min(hour, high), 0.0]) - _EVENING_HOUR) / _EVENING_SIGMA_H
    upto, from_0 = special.ndtr(z).sum(axis=0)
    flat = min(1.0, max(0.0, (hour - low) / (high - low)))
    return float(1 - _EVENING * (upto - from_0) - (1 - _EVENING) * flat)


def simulate_block(
    platform: Platform, days: Sequence[DayPolicy], *, users: Ints, rng: np.random.Generator
) -> tuple[Slots, Responses]:
    """Simulates the users of one block, who are independent of all others.

    Args:
        platform: what is simulated.
        days: the policy of every day of the log.
        users: [block] int64.
        rng: source of randomness.

    Returns:
        The block's impressions, and what came of each.
    """
    shown = np.zeros((len(users), platform.config.videos), dtype=np.bool_)
    visits = [_Visits(row=_no_ints(), start_s=np.empty(0), length=_no_ints())]
    filled = [_Filled(row=_no_ints(), video=_no_ints(), propensity=np.empty(0), taste=np.empty(0))]
    shown_count = np.zeros(len(users), dtype=np.int64)
    for number, day in enumerate(days):
        # A platform that never repeats must not run dry: at most half of what is up is shown.
        room = day.available // 2 - shown_count
        today = _draw_visits(platform, users, day=number, room=room, rng=rng)
        if not len(today.row):
            continue
        result = _fill(platform, day, users=users, today=today, past=filled, shown=shown, rng=rng)
        shown[result.row, result.video] = True
        shown_count += np.bincount(result.row, minlength=len(users))
        visits.append(today)
        filled.append(result)
    return _assemble(
        platform, users=users, visits=concatenate(visits), filled=concatenate(filled), rng=rng
    )


def _no_ints() -> Ints:
    return np.empty(0, dtype=np.int64)


def _draw_visits(
    platform: Platform, users: Ints, *, day: int, room: Ints, rng: np.random.Generator
) -> _Visits:
    config = platform.config
    day_start = config.start + day * SECONDS_PER_DAY
    rate = platform.population.sessions_per_day[users] * weekday_factor(day_start)
    rate[platform.population.signup_time[users] > day_start] = 0
    row = np.repeat(np.arange(len(users)), rng.poisson(rate))
    length = rng.geometric(1 / config.impressions_per_session, size=len(row))
    length = np.minimum(length, config.session_max)
    evening = np.mod(rng.normal(_EVENING_HOUR, _EVENING_SIGMA_H, size=len(row)), _DAY_HOURS[1])
    hour = np.where(
        rng.random(len(row)) < _EVENING, evening, rng.uniform(*_DAY_HOURS, size=len(row))
    )
    hour = hour[np.lexsort((hour, row))]
    before = np.cumsum(length) - length
    before -= before[np.searchsorted(row, row)]
    length = np.clip(room[row] - before, 0, length)
    visits = _Visits(row=row, start_s=day_start + 3_600 * hour, length=length)
    return take(visits, length > 0)


def _fill(
    platform: Platform,
    day: DayPolicy,
    *,
    users: Ints,
    today: _Visits,
    past: Sequence[_Filled],
    shown: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    rng: np.random.Generator,
) -> _Filled:
    """Fills the slots of one day's visits."""
    slots = np.bincount(today.row, weights=today.length, minlength=len(users)).astype(np.int64)
    active = np.flatnonzero(slots)
    mixture = day.mixture(platform.population, users[active])
    result = show(
        mixture,
        slots=slots[active],
        shown=shown[active],
        shown_mass=_shown_mass(mixture, active=active, past=past, rows=len(users)),
        rng=rng,
    )
    row = active[result.row]
    vectors = platform.population.taste(users[active], day.progress)[result.row]
    return _Filled(
        row=row,
        video=result.video,
        propensity=result.propensity,
        taste=platform.taste(vectors, users=users[row], videos=result.video),
    )


def _shown_mass(mixture: Mixture, *, active: Ints, past: Sequence[_Filled], rows: int) -> Doubles:
    """The mixture's mass on what each active row was shown on earlier days."""
    place = np.full(rows, -1)
    place[active] = np.arange(len(active))
    row = place[np.concatenate([part.row for part in past])]
    video = np.concatenate([part.video for part in past])[row >= 0]
    row = row[row >= 0]
    mass = np.bincount(row, weights=mixture.probability(row, video), minlength=len(active))
    return mass.astype(np.float64)


def _assemble(
    platform: Platform, *, users: Ints, visits: _Visits, filled: _Filled, rng: np.random.Generator
) -> tuple[Slots, Responses]:
    """Draws responses and gives every slot its time, by user."""
    sessions = len(visits.row)
    session = np.repeat(np.arange(sessions), visits.length)
    first = np.cumsum(visits.length) - visits.length
    position = np.arange(len(session)) - first[session]
    responses = respond(
        platform.config,
        platform.chances(filled.taste, videos=filled.video),
        position=position,
        duration_s=platform.catalog.duration_s[filled.video],
        rng=rng,
    )
    passed = np.cumsum(responses.dwell_s) - responses.dwell_s
    since_start = passed - passed[first].repeat(visits.length)
    span = np.bincount(session, weights=responses.dwell_s, minlength=sessions)
    start_s = _without_overlap(
        visits.start_s, span_s=span.astype(np.float64) + _GAP_S, row=visits.row
    )
    device = np.where(
        rng.random(sessions) < _USUAL_DEVICE,
        platform.population.device[users[visits.row]],
        rng.choice(len(DEVICE_SHARES), size=sessions, p=DEVICE_SHARES),
    )
    network = rng.choice(len(NETWORK_SHARES), size=sessions, p=NETWORK_SHARES)
    slots = Slots(
        user=users[filled.row],
        video=filled.video,
        session=session,
        position=position,
        propensity=filled.propensity,
        time_s=start_s[session] + since_start,
        device=device[session],
        network=network[session],
    )
    by_user = np.argsort(filled.row, kind="stable")
    return take(slots, by_user), take(responses, by_user)


def _without_overlap(start_s: Doubles, *, span_s: Doubles, row: Ints) -> Doubles:
    """Delays sessions, given in each row's order, that would start before the last has ended."""
    order = np.argsort(row, kind="stable")
    wanted, span = start_s[order], span_s[order]
    # moved[k] = max(wanted[k], moved[k-1] + span[k-1]) is a running maximum once the spans
    # before k are taken off; a step between rows, longer than any time, keeps them apart.
    before = np.cumsum(span) - span
    apart = row[order] * (np.ptp(wanted) + span.sum() + 1.0) if len(row) else before
    moved = np.maximum.accumulate(wanted - before + apart) - apart + before
    result = np.empty_like(start_s)
    result[order] = moved
    return result
