"""Sums over events by item and day, and over windows as of the start of each day."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import Count, Entity
from preprocessing.columns import ITEM, SECONDS_PER_DAY, TIMESTAMP
from preprocessing.contract import VIDEO_ID
from preprocessing.features import FeatureSpec
from preprocessing.measures import amount, is_counted

Int64s = npt.NDArray[np.int64]

DAY = "day"
NEWEST = "newest"
"""The newest event that any count of the row used; 0 for none. Not written."""

_DAY_BITS = 20
_LAST_DAY = (1 << _DAY_BITS) - 1  # in the year 4840


def item_counts(spec: FeatureSpec) -> dict[str, Count]:
    """The sums of items, in the order of `spec.statistic_columns`."""
    return spec.counts(Entity.ITEM)


def _sum_of(count: Count) -> str:
    return f"{count.event}_{count.measure.value}_sum"


def _newest_of(count: Count) -> str:
    return f"{count.event}_{NEWEST}"


def daily_sums(labelled: pl.DataFrame, counts: Iterable[Count]) -> pl.DataFrame:
    """What counts add up, by video and day, and the time of the newest event of each name.

    Returns:
        `video_id`, `day`, `<event>_<measure>_sum` and `<event>_newest`, windows left aside.
    """
    distinct = {_sum_of(count): count for count in counts}
    named = {_newest_of(count): count for count in counts}
    sums = [amount(count).sum().alias(name) for name, count in sorted(distinct.items())]
    newest = [
        pl.col(TIMESTAMP).filter(is_counted(count)).max().fill_null(0).alias(name)
        for name, count in sorted(named.items())
    ]
    counted = labelled.filter(pl.any_horizontal(False, *map(is_counted, named.values())))
    return counted.group_by(VIDEO_ID, (pl.col(TIMESTAMP) // SECONDS_PER_DAY).alias(DAY)).agg(
        *sums, *newest
    )


def add_daily_sums(daily: pl.DataFrame) -> pl.DataFrame:
    """Adds up the daily sums of several groups of users."""
    return daily.group_by(VIDEO_ID, DAY).agg(
        pl.col("^.*_sum$").sum(), pl.col(f"^.*_{NEWEST}$").max()
    )


def _key(item: Int64s, day: Int64s) -> Int64s:
    return (item << _DAY_BITS) + day


def item_statistics(daily: pl.DataFrame, counts: dict[str, Count]) -> pl.DataFrame:
    """The counts of each item as of the start of each day on which they may change.

    Args:
        daily: of `daily_sums`, with the catalog's `item`.
        counts: by feature name.

    Returns:
        `item`, `day`, a column for each count and `newest`, by item and day. Between its rows, and
        after its last, an item's counts stay as they are; before its first they are 0.
    """
    item, day = daily[ITEM].to_numpy(), daily[DAY].to_numpy()
    changes = [_key(item, day + 1)]
    for count in counts.values():
        if count.window_days:
            changes.append(_key(item, np.minimum(day + 1 + count.window_days, _LAST_DAY)))
    key = np.unique(np.concatenate(changes))
    at_item, at_day = key >> _DAY_BITS, key & _LAST_DAY
    columns: dict[str, Int64s] = {ITEM: at_item, DAY: at_day}
    newest = np.zeros(len(key), np.int64)
    for name, count in counts.items():
        columns[name], used = _count_before(daily, count, at_item, at_day)
        newest = np.maximum(newest, used)
    return pl.DataFrame({**columns, NEWEST: newest})


def _count_before(
    daily: pl.DataFrame, count: Count, item: Int64s, day: Int64s
) -> tuple[Int64s, Int64s]:
    """The sum at the start of each (item, day), and the newest event in it."""
    of_event = daily.filter(pl.col(_newest_of(count)) > 0).sort(ITEM, DAY)
    key = _key(of_event[ITEM].to_numpy(), of_event[DAY].to_numpy())
    total = np.concatenate([[0], np.cumsum(of_event[_sum_of(count)].to_numpy())])
    newest = np.concatenate([[0], of_event[_newest_of(count)].to_numpy()])
    since = np.maximum(day - count.window_days, 0) if count.window_days else np.zeros_like(day)
    first = np.searchsorted(key, _key(item, since))
    last = np.searchsorted(key, _key(item, day))
    return total[last] - total[first], np.where(last > first, newest[last], 0)


def only_changes(statistics: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Leaves out rows that say no more than the item's row before; before its first are zeros."""
    before = [pl.col(name).shift(1).over(ITEM).fill_null(0) for name in names]
    changed = [pl.col(name) != each for name, each in zip(names, before, strict=True)]
    return statistics.filter(pl.any_horizontal(False, *changed)).select(ITEM, DAY, *names)


class StatisticsAt:
    """Item statistics that can be asked for any (item, day)."""

    def __init__(self, statistics: pl.DataFrame):
        """Takes what `item_statistics` returned."""
        self._key = _key(statistics[ITEM].to_numpy(), statistics[DAY].to_numpy())
        self._statistics = statistics

    def at(self, item: Int64s, day: Int64s, name: str) -> Int64s:
        """The count `name`, or `newest`, of each item at the start of each day, int64 [n]."""
        if len(self._key) == 0:
            return np.zeros(len(item), np.int64)
        row = np.searchsorted(self._key, _key(item, day), side="right") - 1
        known = (row >= 0) & (self._key[row] >> _DAY_BITS == item)
        return np.where(known, self._statistics[name].to_numpy()[row], 0)
