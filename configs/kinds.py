"""The kinds of features, and what each declares.

Fields that are `free` do not change what a dataset says (they shape the model, or how files are
laid out) and may differ between preprocessing and training. Every other field of the features and
of `configs.schema.Data` is part of the dataset's fingerprint.
"""

import enum
from dataclasses import dataclass, field
from typing import Any

from configs.errors import UserError

FREE = "free"


def free(default: Any) -> Any:
    """A field with a default, outside of the fingerprint."""
    return field(default=default, metadata={FREE: True})


def require(condition: bool, name: str, found: object, expected: str) -> None:
    """Raises `UserError` naming a config field unless the condition holds."""
    if not condition:
        raise UserError(f"config.{name}: found {found!r}, expected {expected}")


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
class Count:
    """A number of events of one user (freshness `event`) or of one item (freshness `day`).

    Attributes:
        event: an event name of the raw log contract, or `positive` for what the label rule accepts.
        window_days: count the last so many days only; 0 counts all.
    """

    event: str = "positive"
    window_days: int = 0


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


@dataclass(slots=True, kw_only=True)
class HashedId(Feature):
    """Several salted hashes of an id into one fixed table, averaged; needs no vocabulary."""

    num_hashes: int = free(2)
    num_buckets: int = free(100_000)
    dim: int = free(32)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        for part in ("num_hashes", "num_buckets", "dim"):
            value = getattr(self, part)
            require(value > 0, f"features.{name}.{part}", value, "a positive number")


@dataclass(slots=True, kw_only=True)
class Vocabulary(Feature):
    """A vocabulary from train data, most frequent first; id 0 is what it does not hold.

    The feature named `item_id` is the item vocabulary: the catalog's own ids (docs/dataset.md).
    """

    max_size: int = 10_000_000
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        require(self.max_size > 0, f"features.{name}.max_size", self.max_size, "at least 1")
        require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class OneHot(Feature):
    """A vocabulary of a few values, each an input of its own; slot 0 is any other value."""

    max_size: int = 8


@dataclass(slots=True, kw_only=True)
class Bucketized(Feature):
    """A number, as the embedding of the interval that it falls in; missing is below the first."""

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
        count: x is a number of events; then there is no column.
    """

    elapsed: bool = False
    count: Count | None = None

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
        if self.count is not None:
            wanted = Freshness.DAY if self.entity is Entity.ITEM else Freshness.EVENT
            require(
                self.freshness is wanted,
                f"{path}.freshness",
                self.freshness.value,
                f"{wanted.value} for a count of this entity",
            )
            require(self.entity is not Entity.CONTEXT, f"{path}.entity", "context", "user or item")
            require(
                self.count.event in COUNTABLE,
                f"{path}.count.event",
                self.count.event,
                "one of " + ", ".join(COUNTABLE),
            )
            require(
                self.count.window_days >= 0,
                f"{path}.count.window_days",
                self.count.window_days,
                "0 or more",
            )


@dataclass(slots=True, kw_only=True)
class Dense(Feature):
    """A vector of fixed length, as it is."""

    length: int = 0

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        require(self.length > 0, f"features.{name}.length", self.length, "at least 1")


@dataclass(slots=True, kw_only=True)
class Distribution(Feature):
    """Shares of the user's positives over the vocabulary of an item feature.

    A request carries keys and counts; the graph divides.

    Attributes:
        of: name of the item feature, a `Vocabulary` or `OneHot`, whose values are counted.
        max_keys: the most frequent so many are kept, ties by key.
    """

    freshness: Freshness = Freshness.EVENT
    of: str = ""
    max_keys: int = 32

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_keys > 0, f"features.{name}.max_keys", self.max_keys, "at least 1")


@dataclass(slots=True, kw_only=True)
class Sequence(Feature):
    """The user's last positives with their times, oldest first, pooled over last-N windows.

    Attributes:
        max_length: how many a row or a request holds.
        windows: one mean for each, over the last so many items.
    """

    freshness: Freshness = Freshness.EVENT
    max_length: int = 50
    windows: tuple[int, ...] = free((50, 10, 3, 1))

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_length > 0, f"features.{name}.max_length", self.max_length, "at least 1")
        require(
            bool(self.windows) and all(0 < w <= self.max_length for w in self.windows),
            f"features.{name}.windows",
            self.windows,
            f"numbers in 1..{self.max_length}",
        )


KINDS: tuple[type[Feature], ...] = (
    HashedId,
    Vocabulary,
    OneHot,
    Bucketized,
    LogZScore,
    Dense,
    Distribution,
    Sequence,
)

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


def validate_features(features: dict[str, Feature]) -> None:
    """Raises `UserError` naming the first feature that is wrong, by itself or beside the others."""
    for name, feature in features.items():
        require(isinstance(feature, KINDS), f"features.{name}", feature, "a feature of some kind")
        feature.validate(name)
        if isinstance(feature, Distribution):
            of = features.get(feature.of)
            require(
                isinstance(of, Vocabulary | OneHot) and of.entity is Entity.ITEM,
                f"features.{name}.of",
                feature.of,
                "the name of an item feature with a vocabulary",
            )
    item_id = features.get("item_id")
    require(
        isinstance(item_id, Vocabulary) and item_id.entity is Entity.ITEM,
        "features.item_id",
        item_id,
        "a Vocabulary of the entity item",
    )
    require(
        sum(isinstance(f, Sequence) for f in features.values()) == 1,
        "features",
        [name for name, f in features.items() if isinstance(f, Sequence)],
        "exactly one Sequence",
    )
