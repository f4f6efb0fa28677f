"""Kinds whose values are numbers, times or vectors."""

import enum
from dataclasses import dataclass

from configs.checks import free, require
from configs.kinds.base import Feature, Freshness
from configs.kinds.counts import Count


@dataclass(slots=True, kw_only=True)
class Bucketized(Feature):
    """A number, as the embedding of the interval that it falls in; missing is below the first.

    Attributes:
        boundaries: between the intervals, ascending; each belongs to the interval above it.
        dim: of the embedding.
    """

    boundaries: tuple[float, ...] = free(())
    dim: int = free(8)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        ascending = list(self.boundaries) == sorted(set(self.boundaries))
        require(
            bool(self.boundaries) and ascending,
            f"features.{name}.boundaries",
            self.boundaries,
            "ascending numbers",
        )
        require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class LogZScore(Feature):
    """log(1 + x), centred and scaled by the mean and deviation of train rows; missing is 0.

    Attributes:
        elapsed: the column is a time, UTC seconds, and x the days from it to the request (user) or
            to the start of the row's day (item).
        count: x is a number of events, or minutes; then there is no column.
        by_day: an item's count is centred and scaled among the items of the row's day instead. A
            batch's negatives come with the days of other rows: where traffic rises and falls, what
            it did to a count would tell them from the positive.
    """

    elapsed: bool = False
    count: Count | None = None
    by_day: bool = free(False)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        path = f"features.{name}"
        require(
            (self.column != "") != (self.count is not None),
            f"{path}.column",
            self.column,
            "a column or a count, not both",
        )
        require(not (self.elapsed and self.count), f"{path}.elapsed", True, "a column, not a count")
        is_daily = self.count is not None and self.freshness is Freshness.DAY
        require(is_daily or not self.by_day, f"{path}.by_day", True, "false but for item counts")
        if self.count is not None:
            self.count.validate(f"{path}.count", self)


@dataclass(slots=True, kw_only=True)
class Bounded(Feature):
    """A share in [0, 1], clipped to it, and whether it is known: a column, or one sum over another.

    Rows, requests and `item_statistics` hold the two sums; the model divides. Over nothing, the
    share is not known.

    Attributes:
        numerator: sum of the part; then there is no column.
        denominator: sum of the whole.
    """

    numerator: Count | None = None
    denominator: Count | None = None

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        path = f"features.{name}"
        both = self.numerator is not None and self.denominator is not None
        neither = self.numerator is None and self.denominator is None
        require(
            (self.column != "" and neither) or (self.column == "" and both),
            f"{path}.column",
            self.column,
            "a column, or a numerator and a denominator",
        )
        for part, count in (("numerator", self.numerator), ("denominator", self.denominator)):
            if count is not None:
                count.validate(f"{path}.{part}", self)


class Period(enum.Enum):
    """What comes round again."""

    DAY = "day"  # from midnight UTC
    WEEK = "week"  # from Monday, midnight UTC


@dataclass(slots=True, kw_only=True)
class Cyclical(Feature):
    """Where in a period a time stands, as sine and cosine; a missing time is (0, 0).

    For the entity context the column `timestamp` is the time of the request.

    Attributes:
        period: that comes round.
    """

    period: Period = Period.DAY


@dataclass(slots=True, kw_only=True)
class Dense(Feature):
    """A vector of fixed length, as it is.

    Attributes:
        length: of the list in the raw column.
    """

    length: int = 0

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        require(self.length > 0, f"features.{name}.length", self.length, "at least 1")
