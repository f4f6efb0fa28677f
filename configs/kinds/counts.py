"""Sums over events that numbers are made of."""

import enum
from dataclasses import dataclass

from configs.checks import require
from configs.kinds.base import Entity, Feature, Freshness

EVENTS = (
    "impression",
    "click",
    "watch",
    "like",
    "share",
    "dislike",
    "follow",
    "report",
    "skip",
)


POSITIVE = "positive"


COUNTABLE = (POSITIVE, *EVENTS)


class Measure(enum.Enum):
    """What is added up over events: always integers, so that their order cannot change a sum.

    Times are whole milliseconds. A watch's duration is the event's, else the catalog's.
    """

    EVENTS = "events"  # 1 for each event
    WATCH_MS = "watch_ms"  # its watch time
    VIEWED_MS = "viewed_ms"  # its watch time up to the duration; 0 where either is unknown
    DURATION_MS = "duration_ms"  # its video's duration; 0 where that or the watch time is unknown


MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Unit:
    """What the model, and a person who looks at a dataset, is given a sum in.

    Attributes:
        size: the sum is divided by it.
        name: of one so large, in the plural; empty for a plain number of events.
    """

    size: int
    name: str


@dataclass(slots=True, kw_only=True)
class Count:
    """A sum over events of one user (freshness `event`) or of one item (freshness `day`).

    Attributes:
        event: an event name of the raw log contract, or `positive` for what the label rule accepts.
        window_days: of the last so many days only; 0: of all.
        measure: what is added up.
    """

    event: str = "positive"
    window_days: int = 0
    measure: Measure = Measure.EVENTS

    @property
    def unit(self) -> Unit:
        """What the sum is read in: times are in minutes, those of a window in minutes a day."""
        if self.measure is Measure.EVENTS:
            return Unit(1, "")
        if self.window_days:
            return Unit(MS_PER_MINUTE * self.window_days, "minutes a day")
        return Unit(MS_PER_MINUTE, "minutes")

    def validate(self, path: str, feature: Feature) -> None:
        """Raises `UserError` naming the field that is wrong.

        Args:
            path: of this count, below `config.`.
            feature: that it is of.
        """
        of = path.rpartition(".")[0]
        entity, freshness = feature.entity, feature.freshness
        require(entity is not Entity.CONTEXT, f"{of}.entity", "context", "user or item")
        wanted = Freshness.DAY if entity is Entity.ITEM else Freshness.EVENT
        require(
            freshness is wanted,
            f"{of}.freshness",
            freshness.value,
            f"{wanted.value} for a count of this entity",
        )
        allowed = COUNTABLE if self.measure is Measure.EVENTS else ("watch",)
        expected = "one of " + ", ".join(allowed)
        require(self.event in allowed, f"{path}.event", self.event, expected)
        require(self.window_days >= 0, f"{path}.window_days", self.window_days, "0 or more")
