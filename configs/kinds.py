"""The kinds of features, and what each declares.

Fields that are `free` do not change what a dataset says (they shape the model, or how files are
laid out) and may differ between preprocessing and training. Every other field of the features and
of `configs.schema.Data` is part of the dataset's fingerprint.
"""

import enum
from dataclasses import dataclass

from configs.checks import free, require


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

    def validate(self, path: str, feature: "Feature") -> None:
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
        count: x is a number of events, or minutes; then there is no column.
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
    """

    period: Period = Period.DAY


@dataclass(slots=True, kw_only=True)
class Bag(Feature):
    """Several values at once, such as tags: the mean of their embeddings.

    Attributes:
        max_size: of the vocabulary, which is made like that of `Vocabulary`.
        max_length: the first so many values are kept.
    """

    max_size: int = 10_000
    max_length: int = 16
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        for part in ("max_size", "max_length", "dim"):
            value = getattr(self, part)
            require(value > 0, f"features.{name}.{part}", value, "at least 1")


class TextEncoder(enum.Enum):
    """What turns a text into a vector; `preprocessing.text` has them."""

    HASHING = "hashing"  # n-grams into buckets; needs nothing installed
    MINILM = "minilm"  # a sentence encoder; needs the extra `text`


@dataclass(slots=True, kw_only=True)
class Text(Feature):
    """A text of an item, embedded by a frozen encoder when the dataset is made, then projected.

    Attributes:
        encoder: which one.
        dim: of the learned projection.
    """

    entity: Entity = Entity.ITEM
    encoder: TextEncoder = TextEncoder.HASHING
    dim: int = free(128)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        path = f"features.{name}"
        require(self.entity is Entity.ITEM, f"{path}.entity", self.entity.value, "item")
        require(
            self.freshness is Freshness.REQUEST,
            f"{path}.freshness",
            self.freshness.value,
            "request: a text does not change by day",
        )
        require(self.dim > 0, f"{path}.dim", self.dim, "at least 1")


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
    """Shares of the user's positives over the values of an item feature.

    A request carries keys and counts; the graph divides. Over a vocabulary each value is an input
    of its own; over hashed ids, which are too many, their embeddings are averaged by share.

    Attributes:
        of: name of the item feature, a `Vocabulary`, `OneHot` or `HashedId`, whose values are
            counted.
        max_keys: the most frequent so many are kept, ties by key.
        dim: of the embeddings that stand for hashed ids; hashes and buckets are as in `of`.
    """

    freshness: Freshness = Freshness.EVENT
    of: str = ""
    max_keys: int = 32
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_keys > 0, f"features.{name}.max_keys", self.max_keys, "at least 1")
        require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class Sequence(Feature):
    """The user's last positives with their times, oldest first, pooled into means.

    Attributes:
        max_length: how many a row or a request holds.
        windows: one mean for each, over the last so many items.
        session_length: one more mean, over the last so many items of the session; 0: none.
        session_gap_sec: a session is what no longer time than this lies between, up to the request.
        age_dim: width of an embedding of each item's age at the request, on a logarithmic scale,
            that is pooled beside the item; 0: none.
        half_lives_days: one mean for each, over all items; an item so many days older than the
            newest weighs half as much.
    """

    freshness: Freshness = Freshness.EVENT
    max_length: int = 50
    windows: tuple[int, ...] = free((50, 10, 3, 1))
    session_length: int = free(0)
    session_gap_sec: int = free(1_800)
    age_dim: int = free(0)
    half_lives_days: tuple[float, ...] = free(())

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
        path = f"features.{name}"
        length, gap = self.session_length, self.session_gap_sec
        wanted = f"0..{self.max_length}"
        require(0 <= length <= self.max_length, f"{path}.session_length", length, wanted)
        require(gap > 0, f"{path}.session_gap_sec", gap, "at least 1")
        require(self.age_dim >= 0, f"{path}.age_dim", self.age_dim, "0 or more")
        require(
            all(days > 0 for days in self.half_lives_days),
            f"features.{name}.half_lives_days",
            self.half_lives_days,
            "positive numbers",
        )


KINDS: tuple[type[Feature], ...] = (
    HashedId,
    Vocabulary,
    OneHot,
    Bucketized,
    LogZScore,
    Bounded,
    Cyclical,
    Bag,
    Dense,
    Text,
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
                isinstance(of, Vocabulary | OneHot | HashedId) and of.entity is Entity.ITEM,
                f"features.{name}.of",
                feature.of,
                "the name of an item feature: a Vocabulary, OneHot or HashedId",
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
