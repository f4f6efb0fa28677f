"""Where train, validation and test are cut: two small histograms find the exact second."""

import math
from datetime import UTC, date, datetime, time
from fractions import Fraction

from configs.errors import UserError
from configs.schema import Split, SplitBy
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.manifest import Splits

Histogram = dict[int, int]
"""Events by day since 1970, or by second."""


def parse_date(name: str, text: str) -> int:
    """UTC seconds of the start of a `YYYY-MM-DD` day.

    Raises:
        UserError: it is none.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"config.data.split.{name}: found {text!r}, expected a day as YYYY-MM-DD"
        ) from None
    return int(datetime.combine(day, time(), UTC).timestamp())


def check_dates(split: Split) -> None:
    """Raises `UserError` if the rule is by date and a date is none."""
    if split.by is SplitBy.DATE:
        parse_date("validation_date", split.validation_date)
        parse_date("test_date", split.test_date)


def empty_test(split: Split, found: Splits) -> str:
    """What a dataset without test rows is warned of: the field that cuts them, and where.

    It is no error: a model may be trained on all of a log. But nothing measures it.
    """
    consequence = "the test split is empty, and no model can be evaluated on it"
    if split.by is SplitBy.LOO:
        return (
            "config.data.split.by: found loo, expected a user with three labels or more: "
            + consequence
        )
    by_date = split.by is SplitBy.DATE
    name, value = (
        ("test_date", split.test_date) if by_date else ("test_fraction", split.test_fraction)
    )
    cut, end = (datetime.fromtimestamp(t, UTC) for t in (found.test_time, found.end_time))
    return (
        f"config.data.split.{name}: found {value}, expected a label from there on, that is from "
        f"{cut:%Y-%m-%d %H:%M:%S} UTC: {consequence}; the log ends before {end:%Y-%m-%d %H:%M:%S}"
    )


def cut_ranks(split: Split, events: int) -> tuple[int, int]:
    """How many events must come before validation and test, by fraction.

    The fractions are taken as the decimals they are written as: 0.9 of 10 events is 9.
    """
    return (
        math.ceil(Fraction(repr(split.validation_fraction)) * events),
        math.ceil(Fraction(repr(split.test_fraction)) * events),
    )


def _bucket_of(histogram: Histogram, rank: int) -> tuple[int, int]:
    """The bucket that holds the event of this rank, from 1, and its rank within the bucket."""
    before = 0
    for bucket in sorted(histogram):
        if before + histogram[bucket] >= rank:
            return bucket, rank - before
        before += histogram[bucket]
    raise ValueError(f"rank {rank} of {before} events")


def cut_days(split: Split, days: Histogram) -> tuple[int, ...]:
    """The days since 1970 whose seconds must be counted to find the cuts."""
    if split.by is not SplitBy.FRACTION:
        return ()
    return tuple(sorted({_bucket_of(days, r)[0] for r in cut_ranks(split, sum(days.values()))}))


def find_splits(
    split: Split, *, days: Histogram, seconds: Histogram, start_time: int, end_time: int
) -> Splits:
    """The cuts.

    Args:
        split: the rule.
        days: events by day since 1970.
        seconds: events by second, within `cut_days`.
        start_time: second of the first event.
        end_time: the second after the last event.

    Raises:
        UserError: a date is none.
    """
    if split.by is SplitBy.LOO:
        validation_time = test_time = end_time
    elif split.by is SplitBy.DATE:
        validation_time = parse_date("validation_date", split.validation_date)
        test_time = parse_date("test_date", split.test_date)
    else:
        validation_time, test_time = (
            _second_of(days, seconds, rank) + 1 for rank in cut_ranks(split, sum(days.values()))
        )
    return Splits(
        start_time=start_time,
        validation_time=validation_time,
        test_time=test_time,
        end_time=end_time,
    )


def _second_of(days: Histogram, seconds: Histogram, rank: int) -> int:
    day, rank_in_day = _bucket_of(days, rank)
    of_day = {s: n for s, n in seconds.items() if s // SECONDS_PER_DAY == day}
    return _bucket_of(of_day, rank_in_day)[0]
