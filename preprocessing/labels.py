"""Which events are positive, which positives are labels, and which split each label is in."""

import enum

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import EVENTS
from configs.schema import Data, PositiveRule, SplitBy, Ties
from preprocessing.columns import TIMESTAMP, USER_ID
from preprocessing.contract import EVENT, VIDEO_ID
from preprocessing.manifest import Splits

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STATUS = "status"
ORIGIN = "origin"
WATCH_MS = "watch_ms"
DURATION_MS = "duration_ms"
CODE_OF = {event: code for code, event in enumerate(EVENTS)}
CANCELLING = [CODE_OF["dislike"], CODE_OF["report"]]
"""What says that the user did not want the item."""


class Status(enum.IntEnum):
    """What became of an event. From `CANCELLED` on it is a positive and part of the history."""

    NOT_POSITIVE = 0
    REPEAT = 1
    CANCELLED = 2
    CROSSES_CUT = 3
    TRAIN = 4
    VALIDATION = 5
    TEST = 6


SPLITS = {"train": Status.TRAIN, "validation": Status.VALIDATION, "test": Status.TEST}


def label(
    events: pl.DataFrame, durations: pl.DataFrame, *, data: Data, splits: Splits
) -> pl.DataFrame:
    """Adds what became of each event, and for labels the event that their features are as of.

    Args:
        events: of some users, deduplicated and in order.
        durations: `video_id` and `duration_sec` of the catalog.
        data: the rules.
        splits: the cuts.

    Returns:
        The events with `status` (uint8, of `Status`) and `origin` (int32, row of the impression
        that the label answers, else its own; -1 where the event is no label), and in place of
        `watch_sec` and `video_duration` whole milliseconds, `watch_ms` and `duration_ms` (the
        catalog's where the event has none), null where they are unknown.
    """
    time = events[TIMESTAMP].to_numpy()
    user = events[USER_ID].rle_id().to_numpy().astype(np.int64)
    item = events[VIDEO_ID].rank("dense").to_numpy().astype(np.int64)
    code = events[EVENT].to_numpy()
    moment = time if data.ties is Ties.STRICT else np.arange(len(time))
    pair = np.unique(user * (item.max(initial=0) + 1) + item, return_inverse=True)[1]

    duration = duration_of(events, durations)
    positive_event = meets_rule(events, duration, data.positive)
    at = np.flatnonzero(positive_event)
    at = at[_is_positive(pair[at], time[at], data)]
    status = np.zeros(len(time), np.uint8)
    status[positive_event] = Status.REPEAT

    impressions = np.flatnonzero(code == CODE_OF["impression"])
    latest = _latest(pair, moment, of=impressions, before=at)
    origin = np.where(latest >= 0, latest, at)
    split = _split_of(time[origin], time[at], data=data, splits=splits)

    cancelling = np.flatnonzero(np.isin(code, CANCELLING))
    first_against = _first_at_or_after(pair, time, of=cancelling, after=at)
    until = time[at] + data.label_window_sec
    if data.split.by is not SplitBy.LOO:
        # What comes after the cut is not known when train ends.
        until = np.where(
            split == Status.TRAIN, np.minimum(until, splits.validation_time - 1), until
        )
    split[first_against <= until] = Status.CANCELLED
    if data.split.by is SplitBy.LOO:
        _leave_last_out(split, user[at])
    status[at] = split

    origins = np.full(len(time), -1, np.int32)
    origins[at] = origin
    return events.drop("watch_sec", "video_duration").with_columns(
        pl.Series(STATUS, status),
        pl.Series(ORIGIN, origins),
        _milliseconds(events["watch_sec"]).alias(WATCH_MS),
        _milliseconds(duration).alias(DURATION_MS),
    )


def _milliseconds(seconds: pl.Series) -> pl.Series:
    return (seconds * 1000).round().cast(pl.Int64)


def duration_of(events: pl.DataFrame, durations: pl.DataFrame) -> pl.Series:
    """Seconds that each event's video lasts: what the event says, else the catalog, else null."""
    both = events.select(VIDEO_ID, "video_duration").join(
        durations, on=VIDEO_ID, how="left", maintain_order="left"
    )
    return both.select(pl.coalesce("video_duration", "duration_sec")).to_series()


def meets_rule(events: pl.DataFrame, duration: pl.Series, rule: PositiveRule) -> Bools:
    """Which events are positive, bool [events].

    Args:
        events: of some users.
        duration: of `duration_of`.
        rule: what is positive.
    """
    positive = events[EVENT].is_in([CODE_OF[event] for event in rule.events])
    is_watch = events[EVENT] == CODE_OF["watch"]
    if rule.min_watch_sec > 0:
        positive |= is_watch & (events["watch_sec"] >= rule.min_watch_sec).fill_null(False)
    if rule.min_watch_fraction < 1.0:
        longer = events["watch_sec"] > rule.min_watch_fraction * duration
        positive |= is_watch & longer.fill_null(False)
    return positive.to_numpy()


def _is_positive(pair: Int64s, time: Int64s, data: Data) -> Bools:
    """Which positive events, in order, are positives: a pair's first, or a late repeat."""
    by_pair = np.argsort(pair, kind="stable")
    sorted_pair, sorted_time = pair[by_pair], time[by_pair]
    first = np.ones(len(pair), bool)
    first[1:] = sorted_pair[1:] != sorted_pair[:-1]
    if data.repeats:
        first[1:] |= sorted_time[1:] - sorted_time[:-1] > data.label_window_sec
    out = np.empty(len(pair), bool)
    out[by_pair] = first
    return out


def _composite(pair: Int64s, moment: Int64s) -> Int64s:
    low = moment.min(initial=0)
    return pair * (moment.max(initial=0) - low + 1) + (moment - low)


def _latest(pair: Int64s, moment: Int64s, *, of: Int64s, before: Int64s) -> Int64s:
    """For each row in `before`, the last row in `of` of the same pair at or before it; else -1."""
    if len(of) == 0:
        return np.full(len(before), -1)
    key = _composite(pair, moment)
    of = of[np.argsort(key[of], kind="stable")]
    found = np.searchsorted(key[of], key[before], side="right") - 1
    row = of[np.maximum(found, 0)]
    return np.where((found >= 0) & (pair[row] == pair[before]), row, -1)


def _first_at_or_after(pair: Int64s, time: Int64s, *, of: Int64s, after: Int64s) -> Int64s:
    """For each row in `after`, when the first row in `of` of its pair follows; else far ahead."""
    never = np.iinfo(np.int64).max
    if len(of) == 0:
        return np.full(len(after), never)
    key = _composite(pair, time)
    of = of[np.argsort(key[of], kind="stable")]
    found = np.searchsorted(key[of], key[after], side="left")
    row = of[np.minimum(found, len(of) - 1)]
    return np.where((found < len(of)) & (pair[row] == pair[after]), time[row], never)


def _split_of(
    as_of: Int64s, label_time: Int64s, *, data: Data, splits: Splits
) -> npt.NDArray[np.uint8]:
    split = np.full(len(as_of), Status.TRAIN, np.uint8)
    if data.split.by is SplitBy.LOO:
        return split
    for cut, later in (
        (splits.validation_time, Status.VALIDATION),
        (splits.test_time, Status.TEST),
    ):
        split[as_of >= cut] = later
    for cut in (splits.validation_time, splits.test_time):
        split[(as_of < cut) & (label_time >= cut)] = Status.CROSSES_CUT
    return split


def _leave_last_out(split: npt.NDArray[np.uint8], user: Int64s) -> None:
    """Makes each user's last label the test and the one before it the validation, in place."""
    labels = np.flatnonzero(split == Status.TRAIN)
    owner = user[labels]
    from_end = np.searchsorted(owner, owner, side="right") - np.arange(len(labels))
    enough = np.bincount(owner, minlength=int(owner.max(initial=0)) + 1)[owner] >= 3
    split[labels[enough & (from_end == 1)]] = Status.TEST
    split[labels[enough & (from_end == 2)]] = Status.VALIDATION
