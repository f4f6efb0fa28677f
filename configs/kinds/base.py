"""What every kind of feature declares."""

import enum
from dataclasses import dataclass

from configs.checks import require


class Entity(enum.Enum):
    """Whom a feature describes; it decides which table its column is read from."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"  # the request itself; column of the events table


class Freshness(enum.Enum):
    """How new a feature's value is when a live request sees it; training builds it just so."""

    REQUEST = "request"  # carried by the request, or computed from what it carries
    EVENT = "event"  # updated with each event
    DAY = "day"  # as of the start of the UTC day


@dataclass(slots=True, kw_only=True)
class Feature:
    """What every kind of feature declares.

    Attributes:
        column: column of the entity's raw table; empty where the value is computed from events.
        entity: whom it describes.
        freshness: how new its value is at a live request.
    """

    column: str = ""
    entity: Entity = Entity.USER
    freshness: Freshness = Freshness.REQUEST

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.column != "", f"features.{name}.column", self.column, "a column name")
