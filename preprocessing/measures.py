"""What an event adds to a sum: 1, or whole milliseconds; over columns of labelled events."""

import polars as pl

from configs.kinds import POSITIVE, Count, Measure
from preprocessing.contract import EVENT
from preprocessing.labels import CODE_OF, DURATION_MS, STATUS, WATCH_MS, Status


def is_counted(count: Count) -> pl.Expr:
    """Which labelled events a count is over."""
    if count.event == POSITIVE:
        return pl.col(STATUS) >= int(Status.CANCELLED)
    return pl.col(EVENT) == CODE_OF[count.event]


def amount(count: Count) -> pl.Expr:
    """What each labelled event adds, int64: 0 where it is not counted."""
    match count.measure:
        case Measure.EVENTS:
            return is_counted(count).cast(pl.Int64)
        case Measure.WATCH_MS:
            value = pl.col(WATCH_MS)
        case Measure.VIEWED_MS:
            value = pl.min_horizontal(WATCH_MS, DURATION_MS)
        case Measure.DURATION_MS:
            value = pl.col(DURATION_MS)
    known = pl.col(WATCH_MS).is_not_null()
    if count.measure is not Measure.WATCH_MS:
        known &= pl.col(DURATION_MS).is_not_null()
    return pl.when(is_counted(count) & known).then(value).otherwise(0)
