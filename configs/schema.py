"""What a run is: one dataclass per part, each able to say in one line what is wrong with it.

Fields that are `_free` do not change what a dataset says (they shape the model, or how files are
laid out) and may differ between preprocessing and training. Every other field of the features and
of `Data` is part of the dataset's fingerprint.
"""

import enum
from dataclasses import dataclass, field, fields
from typing import Any

from configs.errors import UserError
from configs.simulation import ShortVideoSimulation, StreamRecSimulation

FREE = "free"


def _free(default: Any) -> Any:
    return field(default=default, metadata={FREE: True})


def _require(condition: bool, name: str, found: object, expected: str) -> None:
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
        _require(self.column != "", f"features.{name}.column", self.column, "a column name")


@dataclass(slots=True, kw_only=True)
class HashedId(Feature):
    """Several salted hashes of an id into one fixed table, averaged; needs no vocabulary."""

    num_hashes: int = _free(2)
    num_buckets: int = _free(100_000)
    dim: int = _free(32)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        for part in ("num_hashes", "num_buckets", "dim"):
            value = getattr(self, part)
            _require(value > 0, f"features.{name}.{part}", value, "a positive number")


@dataclass(slots=True, kw_only=True)
class Vocabulary(Feature):
    """A vocabulary from train data, most frequent first; id 0 is what it does not hold.

    The feature named `item_id` is the item vocabulary: the catalog's own ids (docs/dataset.md).
    """

    max_size: int = 10_000_000
    dim: int = _free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        _require(self.max_size > 0, f"features.{name}.max_size", self.max_size, "at least 1")
        _require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class OneHot(Feature):
    """A vocabulary of a few values, each an input of its own; slot 0 is any other value."""

    max_size: int = 8


@dataclass(slots=True, kw_only=True)
class Bucketized(Feature):
    """A number, as the embedding of the interval that it falls in; missing is below the first."""

    boundaries: tuple[float, ...] = _free(())
    dim: int = _free(8)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        ascending = list(self.boundaries) == sorted(set(self.boundaries))
        _require(
            bool(self.boundaries) and ascending,
            f"features.{name}.boundaries",
            self.boundaries,
            "ascending numbers",
        )
        _require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


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
        _require(
            (self.column != "") != (self.count is not None),
            f"{path}.column",
            self.column,
            "a column or a count, not both",
        )
        _require(
            not (self.elapsed and self.count), f"{path}.elapsed", True, "a column, not a count"
        )
        if self.count is not None:
            wanted = Freshness.DAY if self.entity is Entity.ITEM else Freshness.EVENT
            _require(
                self.freshness is wanted,
                f"{path}.freshness",
                self.freshness.value,
                f"{wanted.value} for a count of this entity",
            )
            _require(self.entity is not Entity.CONTEXT, f"{path}.entity", "context", "user or item")
            _require(
                self.count.event in COUNTABLE,
                f"{path}.count.event",
                self.count.event,
                "one of " + ", ".join(COUNTABLE),
            )
            _require(
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
        _require(self.length > 0, f"features.{name}.length", self.length, "at least 1")


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
        _require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        _require(self.max_keys > 0, f"features.{name}.max_keys", self.max_keys, "at least 1")


@dataclass(slots=True, kw_only=True)
class Sequence(Feature):
    """The user's last positives with their times, oldest first, pooled over last-N windows.

    Attributes:
        max_length: how many a row or a request holds.
        windows: one mean for each, over the last so many items.
    """

    freshness: Freshness = Freshness.EVENT
    max_length: int = 50
    windows: tuple[int, ...] = _free((50, 10, 3, 1))

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        _require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        _require(self.max_length > 0, f"features.{name}.max_length", self.max_length, "at least 1")
        _require(
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


@dataclass(slots=True, kw_only=True)
class PositiveRule:
    """Which events say that the user wanted the video; an event that meets any line is positive.

    Attributes:
        min_watch_fraction: a watch of more than this share of the duration; 1.0 or more: never.
        min_watch_sec: a watch of at least so many seconds; 0: not by seconds.
        events: names of events that are positive whatever they carry.
    """

    min_watch_fraction: float = 0.5
    min_watch_sec: float = 0.0
    events: tuple[str, ...] = ("like", "share")


class SplitBy(enum.Enum):
    """How train, validation and test are cut."""

    FRACTION = "fraction"  # of events, in time
    DATE = "date"
    LOO = "loo"  # each user's last event out: for comparison with the literature only


@dataclass(slots=True, kw_only=True)
class Split:
    """Where train ends and test begins.

    Attributes:
        by: fraction of events, dates, or leave-one-out.
        validation_fraction: share of events before validation begins; equal to `test_fraction`
            leaves validation empty.
        test_fraction: share of events before test begins.
        validation_date: first UTC day of validation, `YYYY-MM-DD`; only by date.
        test_date: first UTC day of test, `YYYY-MM-DD`; only by date.
    """

    by: SplitBy = SplitBy.FRACTION
    validation_fraction: float = 0.8
    test_fraction: float = 0.9
    validation_date: str = ""
    test_date: str = ""


class Ties(enum.Enum):
    """What an event knows of others of its user with the same timestamp."""

    STRICT = "strict"  # nothing
    FILE_ORDER = "file_order"  # those before it in the file: the literature's habit


class Seen(enum.Enum):
    """Which earlier contacts count as seen, and leave an item out of candidates and relevant."""

    ANY_EVENT = "any_event"
    POSITIVE = "positive"


@dataclass(slots=True, kw_only=True)
class Data:
    """From logs to dataset.

    Attributes:
        positive: the label rule.
        label_window_sec: a dislike or report of the video up to so long after a positive cancels
            the label; also the gap after which a repeated positive is a new one.
        repeats: keep later positives of the same (user, item); else the first only.
        split: where train ends.
        ties: what events with one timestamp know of each other.
        seen: what evaluation leaves out.
        min_timestamp: earlier events are malformed (UTC seconds).
        max_timestamp: later events are malformed (UTC seconds).
        max_watch_sec: a longer watch is malformed.
        max_bad_fraction: the job fails when more lines than this share are malformed.
        max_next_queries: `next` queries kept for each split, chosen by a hash of user and time.
        partitions: groups of users that are worked on together; more need less memory each.
        rows_per_record: rows packed in one record; 1 gives the ordinary one-row Examples.
        shards: files of the train split.
    """

    positive: PositiveRule = field(default_factory=PositiveRule)
    label_window_sec: int = 3_600
    repeats: bool = False
    split: Split = field(default_factory=Split)
    ties: Ties = Ties.STRICT
    seen: Seen = Seen.ANY_EVENT
    min_timestamp: int = 631_152_000  # 1990-01-01
    max_timestamp: int = 4_102_444_800  # 2100-01-01
    max_watch_sec: float = 86_400.0
    max_bad_fraction: float = _free(0.01)
    max_next_queries: int = 20_000
    partitions: int = _free(16)
    rows_per_record: int = _free(1_024)
    shards: int = _free(8)


@dataclass(slots=True, kw_only=True)
class Model:
    """The two towers (docs/architecture.md).

    Attributes:
        embedding_dim: width of both towers' output.
        residual_width: width of the residual MLP.
        residual_blocks: pre-norm blocks of it.
        cross_layers: layers of the DCN-v2 cross network.
        cross_rank: rank of their matrices; 0 for full rank.
        dropout: share of residual units dropped in training.
        temperature: scores are dot products divided by it.
    """

    embedding_dim: int = 128
    residual_width: int = 256
    residual_blocks: int = 2
    cross_layers: int = 4
    cross_rank: int = 0
    dropout: float = 0.1
    temperature: float = 0.05


class Correction(enum.Enum):
    """How the sampled softmax makes up for popular items being sampled more often."""

    EXPECTED_COUNT = "expected_count"
    LOGQ = "logq"
    NONE = "none"


@dataclass(slots=True, kw_only=True)
class Loss:
    """Sampled softmax.

    Attributes:
        correction: bias correction.
        uniform_negatives: items drawn uniformly from the catalog beside the batch's own.
    """

    correction: Correction = Correction.EXPECTED_COUNT
    uniform_negatives: int = 1_024


@dataclass(slots=True, kw_only=True)
class Train:
    """The optimisation.

    Attributes:
        batch_size: rows in one step, all replicas together.
        epochs: passes over the train rows.
        learning_rate: peak of AdamW's, for all but the embedding tables.
        embedding_learning_rate: peak of row-wise Adagrad's, for the embedding tables.
        warmup_fraction: share of steps in which both rise linearly; then they fall as a cosine.
        weight_decay: AdamW's.
        clip_norm: bound of the global gradient norm over both.
        history_dropout: share of history items hidden from a training row.
        shuffle_records: records mixed with one another; rows are shuffled among them.
        log_every_steps: steps between lines of TensorBoard.
        checkpoint_every_steps: steps between checkpoints; the end of training is one too.
        keep_checkpoints: newest so many stay on disk.
        validate_every_epochs: epochs between validations; 0 for none before the end.
        seed: of initial weights, shuffling and negatives.
    """

    batch_size: int = 2_048
    epochs: int = 3
    learning_rate: float = 1e-3
    embedding_learning_rate: float = 0.05
    warmup_fraction: float = 0.05
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    history_dropout: float = 0.1
    shuffle_records: int = 64
    log_every_steps: int = 50
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3
    validate_every_epochs: int = 1
    seed: int = 17


class Protocol(enum.Enum):
    """A question put to the test split (docs/evaluation.md)."""

    WINDOW = "window"
    NEXT = "next"
    LOO_FILE = "loo-file"
    LOO_STRICT = "loo-strict"


@dataclass(slots=True, kw_only=True)
class Eval:
    """Evaluation on the full catalog.

    Attributes:
        protocols: which to run.
        ks: list lengths that metrics are given at.
        exclude_seen: leave seen items out of candidates and of what is relevant.
        new_users: also ask for users without any history at the query.
        max_queries: of each protocol; more are cut to the first so many by a hash. 0: all.
        recent_days: the window of recent popularity.
        ease_l2: EASE's lambda.
        ease_max_items: EASE sees the most popular so many (its cost is cubic).
    """

    protocols: tuple[Protocol, ...] = (Protocol.WINDOW, Protocol.NEXT)
    ks: tuple[int, ...] = (10, 20, 50, 100, 200)
    exclude_seen: bool = True
    new_users: bool = True
    max_queries: int = 20_000
    recent_days: int = 7
    ease_l2: float = 300.0
    ease_max_items: int = 5_000


class Index(enum.Enum):
    """How the exported model searches the catalog."""

    AUTO = "auto"  # by catalog size
    EXACT = "exact"
    AH = "ah"  # ScaNN scoring with asymmetric hashing, then exact reordering
    PARTITIONED = "partitioned"  # the same within the nearest of about sqrt(n) partitions


@dataclass(slots=True, kw_only=True)
class Export:
    """The exported model.

    Attributes:
        k: length of every list.
        index: kind of index.
        exact_below: catalogs smaller than this are searched exactly.
        partition_from: catalogs of this size or more are partitioned.
        recall_target: recall@k against exact search that the index is tuned to reach.
        exclude_history: leave the items of the request's own history out of its list.
    """

    k: int = 100
    index: Index = Index.AUTO
    exact_below: int = 20_000
    partition_from: int = 100_000
    recall_target: float = 0.95
    exclude_history: bool = True


@dataclass(slots=True, kw_only=True)
class Config:
    """All of a run."""

    features: dict[str, Feature]
    simulation: ShortVideoSimulation | StreamRecSimulation
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)
    eval: Eval = field(default_factory=Eval)
    export: Export = field(default_factory=Export)

    def validate(self) -> "Config":
        """Returns self, or raises `UserError` naming the first field that is wrong."""
        self.simulation.validate()
        _validate_features(self.features)
        _validate_split(self.data.split)
        for event in self.data.positive.events:
            _require(event in EVENTS, "data.positive.events", event, "one of " + ", ".join(EVENTS))
        loo = self.data.split.by is SplitBy.LOO
        for protocol in self.eval.protocols:
            is_loo = protocol in (Protocol.LOO_FILE, Protocol.LOO_STRICT)
            _require(
                is_loo == loo,
                "eval.protocols",
                protocol.value,
                f"a protocol that data.split.by={self.data.split.by.value} makes queries for",
            )
        _require_positive(self.data, "data", ("partitions", "rows_per_record", "shards"))
        _require_positive(
            self.model,
            "model",
            ("embedding_dim", "residual_width", "temperature"),
        )
        _require_positive(
            self.train,
            "train",
            (
                "batch_size",
                "epochs",
                "learning_rate",
                "embedding_learning_rate",
                "clip_norm",
                "log_every_steps",
                "checkpoint_every_steps",
                "keep_checkpoints",
            ),
        )
        _require_positive(self.export, "export", ("k",))
        for path, share in (
            ("model.dropout", self.model.dropout),
            ("train.history_dropout", self.train.history_dropout),
            ("train.warmup_fraction", self.train.warmup_fraction),
        ):
            _require(0.0 <= share < 1.0, path, share, "a share in [0, 1)")
        _require(
            self.loss.uniform_negatives >= 0,
            "loss.uniform_negatives",
            self.loss.uniform_negatives,
            "0 or more",
        )
        _require(
            bool(self.eval.ks) and list(self.eval.ks) == sorted(set(self.eval.ks)),
            "eval.ks",
            self.eval.ks,
            "ascending numbers",
        )
        return self


def _require_positive(part: object, path: str, names: tuple[str, ...]) -> None:
    known = {each.name for each in fields(part)}  # type: ignore[arg-type]
    assert known.issuperset(names)
    for name in names:
        value = getattr(part, name)
        _require(value > 0, f"{path}.{name}", value, "a positive number")


def _validate_features(features: dict[str, Feature]) -> None:
    for name, feature in features.items():
        _require(isinstance(feature, KINDS), f"features.{name}", feature, "a feature of some kind")
        feature.validate(name)
        if isinstance(feature, Distribution):
            of = features.get(feature.of)
            _require(
                isinstance(of, Vocabulary | OneHot) and of.entity is Entity.ITEM,
                f"features.{name}.of",
                feature.of,
                "the name of an item feature with a vocabulary",
            )
    item_id = features.get("item_id")
    _require(
        isinstance(item_id, Vocabulary) and item_id.entity is Entity.ITEM,
        "features.item_id",
        item_id,
        "a Vocabulary of the entity item",
    )
    _require(
        sum(isinstance(f, Sequence) for f in features.values()) == 1,
        "features",
        [name for name, f in features.items() if isinstance(f, Sequence)],
        "exactly one Sequence",
    )


def _validate_split(split: Split) -> None:
    if split.by is SplitBy.FRACTION:
        _require(
            0.0 < split.validation_fraction <= split.test_fraction < 1.0,
            "data.split",
            (split.validation_fraction, split.test_fraction),
            "0 < validation_fraction <= test_fraction < 1",
        )
    elif split.by is SplitBy.DATE:
        _require(
            "" < split.validation_date <= split.test_date,
            "data.split",
            (split.validation_date, split.test_date),
            "validation_date <= test_date, each YYYY-MM-DD",
        )
