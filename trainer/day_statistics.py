"""How a count stands among the items of its day, whatever the day's traffic."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.catalog import DailyCounts

_LEAST_STD = 0.1  # of a day on which all items are about alike


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStatistics:
    """Mean and deviation of log(1 + x) over the items that have had an event before a day.

    Attributes:
        first_day: of the rows, days since 1970; earlier days are taken for it, later ones for the
            last.
        mean: float32 [days].
        std: float32 [days].
    """

    first_day: int
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]


def over_items(daily: DailyCounts, statistic: int, *, unit: int) -> DayStatistics:
    """The statistics of every day on which a count of any item changed.

    Args:
        daily: counts of all items.
        statistic: column of them.
        unit: x is the count over it.
    """
    if not len(daily.key):
        return DayStatistics(first_day=0, mean=np.zeros(1, np.float32), std=np.ones(1, np.float32))
    item, day = DailyCounts.item_and_day(daily.key)
    value = np.log1p(daily.counts[:, statistic] / unit)
    is_first = np.append(True, item[1:] != item[:-1])
    before = np.where(is_first, 0.0, np.append(0.0, value[:-1]))
    first_day = int(day.min())

    def total(change: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What the changes up to each day add up to."""
        return np.cumsum(np.bincount(day - first_day, change))

    items = total(is_first.astype(np.float64))
    mean = total(value - before) / items
    variance = total(value**2 - before**2) / items - mean**2
    std = np.sqrt(np.maximum(variance, _LEAST_STD**2))
    return DayStatistics(
        first_day=first_day, mean=mean.astype(np.float32), std=std.astype(np.float32)
    )
