"""What is known of one column over one set of rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from preprocessing.columns import SECONDS_PER_DAY, TIMESTAMP
from preprocessing.description.columns import Described, Shown

MAX_VALUES = 1_000_000
"""Of lists and vectors, whose sample would be many times as large, so many values are kept."""

_SEED = 17
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One column over one set of rows.

    Attributes:
        missing_share: of rows without a value.
        numbers: float64, sampled values as they are shown, ascending, those of missing rows left
            out; None for categories. Hours lie in [0, 24), days of the week in [0, 7).
        categories: `value`, `count` of sampled values, most frequent first, ties by value; None
            for numbers.
        mean_length: of a list, over sampled rows.
    """

    missing_share: float
    numbers: npt.NDArray[np.float64] | None = None
    categories: pl.DataFrame | None = None
    mean_length: float | None = None

    @property
    def values(self) -> int:
        """Sampled values."""
        if self.categories is not None:
            return int(self.categories["count"].sum())
        assert self.numbers is not None
        return len(self.numbers)

    def quantiles(self, shares: tuple[float, ...] = (0.01, 0.5, 0.99)) -> tuple[float, ...]:
        """Of numbers; empty if there are none."""
        if self.numbers is None or not len(self.numbers):
            return ()
        return tuple(np.quantile(self.numbers, shares, method="nearest").tolist())

    def head(self, length: int) -> list[tuple[str, float]]:
        """The most frequent categories, with their share of sampled values."""
        if self.categories is None:
            return []
        total = max(1, self.values)
        return [(value, count / total) for value, count in self.categories.head(length).rows()]


def summarize(described: Described, rows: pl.DataFrame, *, missing_share: float) -> Summary:
    """Reduces sampled rows to what is known of one column.

    Args:
        described: the column.
        rows: sampled rows with it and `timestamp`.
        missing_share: over all rows, not over the sample.
    """
    column = described.column
    mean_length = None
    if column.is_ragged:
        lengths = rows[column.name].list.len()
        mean_length = float(np.mean(lengths.to_numpy())) if len(lengths) else 0.0
    names = list(dict.fromkeys((TIMESTAMP, column.name)))  # which is one for the row's own time
    present = rows.filter(~described.is_missing()).select(names)
    if described.shown is Shown.LENGTH:
        present = present.with_columns(pl.col(column.name).list.len())
    elif column.is_ragged or column.length is not None:
        present = present.explode(column.name).drop_nulls()
        if len(present) > MAX_VALUES:
            present = present.sample(MAX_VALUES, seed=_SEED)
    if described.is_category:
        counts = present[column.name].rename("value").value_counts(name="count")
        return Summary(
            missing_share=missing_share,
            categories=counts.sort(["count", "value"], descending=[True, False]),
            mean_length=mean_length,
        )
    values = _as_shown(described, present[column.name], present[TIMESTAMP])
    return Summary(
        missing_share=missing_share,
        numbers=np.sort(values.to_numpy()),
        mean_length=mean_length,
    )


def _as_shown(described: Described, values: pl.Series, timestamp: pl.Series) -> pl.Series:
    values = values.cast(pl.Float64)
    match described.shown:
        case Shown.ELAPSED:
            return (timestamp.cast(pl.Float64) - values) / SECONDS_PER_DAY
        case Shown.DELAY:
            return (values - timestamp.cast(pl.Float64)) / SECONDS_PER_DAY
        case Shown.HOUR:
            return values % SECONDS_PER_DAY / 3_600
        case Shown.WEEKDAY:
            return (values / SECONDS_PER_DAY + _EPOCH_WEEKDAY) % 7
    return values / described.unit.size
