"""What a run is: one dataclass per part, each able to say in one line what is wrong with it."""

import enum
from dataclasses import dataclass, field, fields

from configs.baselines import Baselines
from configs.kinds import EVENTS, Feature, Sequence, free, require, validate_features
from configs.simulation import ShortVideoSimulation, StreamRecSimulation


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


class DamagedFiles(enum.Enum):
    """What becomes of a job that meets a gzip or Parquet file that is cut or damaged."""

    FAIL = "fail"
    QUARANTINE = "quarantine"  # no row of it is used, and the manifest names it


@dataclass(slots=True, kw_only=True)
class Data:
    """From logs to dataset.

    Attributes:
        positive: the label rule.
        label_window_sec: a dislike or report of the video up to so long after a positive cancels
            the label; also the gap after which a repeated positive is a new one.
        repeats: keep later positives of the same (user, item); else the first only.
        watch_weight: a label weighs 1 + watch_weight · ln(1 + minutes watched in its event).
        negatives_per_row: items that the user was shown and did not want travel with the next
            label, at most so many (docs/dataset.md); 0: none.
        explicit_negatives: dislikes and reports are among them, before impressions.
        split: where train ends.
        ties: what events with one timestamp know of each other.
        seen: what evaluation leaves out.
        min_timestamp: earlier events are malformed (UTC seconds).
        max_timestamp: later events are malformed (UTC seconds).
        max_watch_sec: a longer watch is malformed.
        max_line_bytes: a longer line of JSON is malformed, and never held in memory whole.
        max_bad_fraction: the job fails when more lines than this share are malformed.
        damaged_files: fail, or go on without them, when a file is cut or damaged.
        max_next_queries: `next` queries kept for each split, chosen by a hash of user and time.
        partitions: groups of users that are worked on together; more need less memory each.
        rows_per_record: rows packed in one record; 1 gives the ordinary one-row Examples.
        shards: files of the train split.
    """

    positive: PositiveRule = field(default_factory=PositiveRule)
    label_window_sec: int = 3_600
    repeats: bool = False
    watch_weight: float = 0.0
    negatives_per_row: int = 4
    explicit_negatives: bool = False
    split: Split = field(default_factory=Split)
    ties: Ties = Ties.STRICT
    seen: Seen = Seen.ANY_EVENT
    min_timestamp: int = 631_152_000  # 1990-01-01
    max_timestamp: int = 4_102_444_800  # 2100-01-01
    max_watch_sec: float = 86_400.0
    max_line_bytes: int = 1 << 20
    max_bad_fraction: float = free(0.01)
    damaged_files: DamagedFiles = free(DamagedFiles.FAIL)
    max_next_queries: int = 20_000
    partitions: int = free(16)
    rows_per_record: int = free(1_024)
    shards: int = free(8)


@dataclass(slots=True, kw_only=True)
class Describe:
    """The page about a dataset (`preprocessing.describe`).

    Attributes:
        max_category_drift: a feature whose share of some category differs by more between two sets
            of rows (L-infinity, in [0, 1]) is warned of.
        max_number_drift: the same for numbers, by Jensen-Shannon divergence (base 2, in [0, 1]).
        sample_rows: rows that histograms and drift are computed from, drawn uniformly from each
            set; 100,000 give a share with a standard error of at most 0.0016.
        bins: of histograms and of the drift of numbers.
        head: values shown of each vocabulary.
    """

    max_category_drift: float = 0.1
    max_number_drift: float = 0.1
    sample_rows: int = 100_000
    bins: int = 40
    head: int = 20


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
        learn_temperature: learn it, from there, within `temperature_bounds`.
        temperature_bounds: least and greatest.
    """

    embedding_dim: int = 128
    residual_width: int = 256
    residual_blocks: int = 2
    cross_layers: int = 4
    cross_rank: int = 0
    dropout: float = 0.1
    temperature: float = 0.05
    learn_temperature: bool = False
    temperature_bounds: tuple[float, float] = (0.01, 1.0)


class LossKind(enum.Enum):
    """What the scores of positive and negatives are held to (docs/losses.md)."""

    SAMPLED_SOFTMAX = "sampled_softmax"
    FULL_SOFTMAX = "full_softmax"  # every known item is a candidate of every row
    BCE = "bce"
    TRIPLET = "triplet"
    BPR = "bpr"


class Correction(enum.Enum):
    """How the loss makes up for popular items being sampled more often."""

    EXPECTED_COUNT = "expected_count"
    LOGQ = "logq"
    NONE = "none"


class Duplicates(enum.Enum):
    """What an item counts that was drawn more than once in a batch."""

    KEPT = "kept"  # as often as it was drawn
    REMOVED = "removed"  # once


class Frequency(enum.Enum):
    """Where the share of an item among the train rows comes from."""

    COUNTED = "counted"  # in the dataset
    STREAMING = "streaming"  # estimated while training, for data that shifts


FULL_SOFTMAX_MAX_ITEMS = 100_000


@dataclass(slots=True, kw_only=True)
class Loss:
    """The loss and its negatives; the negatives may be mixed in any way.

    Attributes:
        kind: which loss.
        correction: bias correction; no concern of the full softmax.
        duplicates: whether an item that was drawn n times counts n times.
        in_batch_negatives: the batch's positives are negatives for one another.
        uniform_negatives: items drawn uniformly from the catalog for each batch.
        impressed_negatives: of what a row's user was shown before it and passed over, the newest
            so many; 0 for none.
        memory_size: positives of earlier batches whose vectors are kept as negatives, once the
            learning rate is warmed up; 0 for none.
        symmetric: also tell the right user from others for each item, at equal weight; sampled
            softmax only.
        label_smoothing: share of the target that is spread over the negatives; softmaxes only.
        margin: by which a positive's cosine should lead; triplet only.
        frequency: where shares of items come from.
        frequency_arrays: of the streaming estimator, each with a hash of its own.
        frequency_buckets: in each array.
        frequency_rate: weight of a new gap between appearances in its mean.
    """

    kind: LossKind = LossKind.SAMPLED_SOFTMAX
    correction: Correction = Correction.EXPECTED_COUNT
    duplicates: Duplicates = Duplicates.KEPT
    in_batch_negatives: bool = True
    uniform_negatives: int = 1_024
    impressed_negatives: int = 0
    memory_size: int = 0
    symmetric: bool = False
    label_smoothing: float = 0.0
    margin: float = 0.2
    frequency: Frequency = Frequency.COUNTED
    frequency_arrays: int = 3
    frequency_buckets: int = 1_000_000
    frequency_rate: float = 0.01

    def validate(self) -> None:
        """Raises `UserError` naming the field that is wrong."""
        for name in ("uniform_negatives", "impressed_negatives", "memory_size"):
            value = getattr(self, name)
            require(value >= 0, f"loss.{name}", value, "0 or more")
        is_softmax = self.kind in (LossKind.SAMPLED_SOFTMAX, LossKind.FULL_SOFTMAX)
        require(
            0.0 <= self.label_smoothing < 1.0 and (is_softmax or not self.label_smoothing),
            "loss.label_smoothing",
            self.label_smoothing,
            "a share in [0, 1), of a softmax",
        )
        require(
            not self.symmetric
            or (self.kind is LossKind.SAMPLED_SOFTMAX and self.in_batch_negatives),
            "loss.symmetric",
            self.symmetric,
            "sampled_softmax with in-batch negatives",
        )
        if self.kind is LossKind.FULL_SOFTMAX:
            for name, plain in (
                ("impressed_negatives", 0),
                ("memory_size", 0),
                ("duplicates", Duplicates.KEPT),
                ("frequency", Frequency.COUNTED),
            ):
                value = getattr(self, name)
                require(
                    value == plain,
                    f"loss.{name}",
                    getattr(value, "value", value),
                    f"{getattr(plain, 'value', plain)}: the full softmax samples nothing",
                )
        else:
            require(
                self.in_batch_negatives or self.uniform_negatives > 0,
                "loss.uniform_negatives",
                self.uniform_negatives,
                "some, or in_batch_negatives: other sources may have nothing for a row",
            )
        _require_positive(
            self, "loss", ("margin", "frequency_arrays", "frequency_buckets", "frequency_rate")
        )
        require(self.frequency_rate < 1.0, "loss.frequency_rate", self.frequency_rate, "below 1")


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
        item_id_dropout: share of a step's items that stand for new ones, without their own id.
        feature_dropout: by feature, the share of rows (of items, for an item's) that train without
            it; a history and item ids have dropouts of their own.
        target_window: a row predicts a random one of its user's next so many labels, its own the
            first of them; 1: always its own.
        shuffle_records: records mixed with one another; rows are shuffled among them.
        log_every_steps: steps between lines of TensorBoard.
        checkpoint_every_steps: steps between checkpoints; the end of an epoch is one too.
        keep_checkpoints: newest so many stay on disk.
        validate_every_epochs: epochs between validations; 0 for none before the end.
        max_item_cosine: a mean cosine between items above it, at three checks in a row after
            warm-up, stops the run: its embeddings have collapsed. 1: never.
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
    item_id_dropout: float = 0.0
    feature_dropout: dict[str, float] = field(default_factory=dict)
    target_window: int = 1
    shuffle_records: int = 64
    log_every_steps: int = 50
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3
    validate_every_epochs: int = 1
    max_item_cosine: float = 0.9
    seed: int = 17


class Protocol(enum.Enum):
    """A question put to the test split (docs/evaluation.md)."""

    WINDOW = "window"
    NEXT = "next"
    LOO_FILE = "loo-file"
    LOO_STRICT = "loo-strict"


METRICS = ("HR", "Recall", "NDCG", "MRR", "MAP")
"""What is measured at each of `Eval.ks`; coverage is beside them."""


@dataclass(slots=True, kw_only=True)
class Eval:
    """Evaluation on the full catalog.

    Attributes:
        protocols: which to run.
        ks: list lengths that metrics are given at.
        exclude_seen: leave seen items out of candidates and of what is relevant.
        new_users: also ask for users without any history at the query.
        max_queries: of each protocol; more are cut to the first so many by a hash. 0: all.
        baselines: which run beside the model, and their parameters.
        tune_by: metric on the validation split that baselines are tuned by.
        bootstrap_samples: resamples of the users for intervals and paired differences; 0 for none.
    """

    protocols: tuple[Protocol, ...] = (Protocol.WINDOW, Protocol.NEXT)
    ks: tuple[int, ...] = (10, 20, 50, 100, 200)
    exclude_seen: bool = True
    new_users: bool = True
    max_queries: int = 20_000
    baselines: Baselines = field(default_factory=Baselines)
    tune_by: str = "Recall@100"
    bootstrap_samples: int = 1_000

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require(
            bool(self.ks) and list(self.ks) == sorted(set(self.ks)) and self.ks[0] > 0,
            "eval.ks",
            self.ks,
            "ascending numbers",
        )
        known = [f"{metric}@{k}" for metric in METRICS for k in self.ks]
        require(self.tune_by in known, "eval.tune_by", self.tune_by, "one of " + ", ".join(known))
        require(
            self.bootstrap_samples >= 0,
            "eval.bootstrap_samples",
            self.bootstrap_samples,
            "0 or more",
        )
        require(self.max_queries >= 0, "eval.max_queries", self.max_queries, "0 or more")
        self.baselines.validate()


@dataclass(slots=True, kw_only=True)
class TensorBoard:
    """What is written for TensorBoard beside loss, learning rate and metrics.

    Attributes:
        hparams: the settings of model, loss and optimisation, so that runs can be compared.
        monitors: uniformity and effective rank of item embeddings, which fall when they collapse.
        projector_items: so many of the most popular items go to the Embedding Projector, with
            their titles; 0: none.
    """

    hparams: bool = True
    monitors: bool = True
    projector_items: int = 10_000


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
        popularity_weight: α of a user without a history in score = (1 - α)·dot/τ + α·log
            popularity, in [0, 1).
        popularity_half_life: known history items that halve α.
        popularity_days: popularity counts the positives of the log's last so many days; 0: all.
        rebuild_share: a version says that a rebuild is due once so large a share of its items is
            fresh or removed.
        quality_margin: a version is refused whose recall is by more than this share below that of
            the version that is live.
        max_latency_ms: a version is refused that takes longer for one request, in the median.
    """

    k: int = 100
    index: Index = Index.AUTO
    exact_below: int = 20_000
    partition_from: int = 100_000
    recall_target: float = 0.95
    exclude_history: bool = True
    # Chosen on the validation split of the simulated log (docs/export.md).
    popularity_weight: float = 0.5
    popularity_half_life: float = 1.0
    popularity_days: int = 7
    rebuild_share: float = 0.1
    quality_margin: float = 0.1
    max_latency_ms: float = 100.0


@dataclass(slots=True, kw_only=True)
class Config:
    """All of a run."""

    features: dict[str, Feature]
    simulation: ShortVideoSimulation | StreamRecSimulation
    data: Data = field(default_factory=Data)
    describe: Describe = field(default_factory=Describe)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)
    eval: Eval = field(default_factory=Eval)
    tensorboard: TensorBoard = field(default_factory=TensorBoard)
    export: Export = field(default_factory=Export)

    def validate(self) -> "Config":
        """Returns self, or raises `UserError` naming the first field that is wrong."""
        self.simulation.validate()
        validate_features(self.features)
        _validate_split(self.data.split)
        for event in self.data.positive.events:
            require(event in EVENTS, "data.positive.events", event, "one of " + ", ".join(EVENTS))
        # A tuple given on the command line holds the names.
        self.eval.protocols = tuple(_protocol(each) for each in self.eval.protocols)
        loo = self.data.split.by is SplitBy.LOO
        for protocol in self.eval.protocols:
            is_loo = protocol in (Protocol.LOO_FILE, Protocol.LOO_STRICT)
            require(
                is_loo == loo,
                "eval.protocols",
                protocol.value,
                f"a protocol that data.split.by={self.data.split.by.value} makes queries for",
            )
        for name in ("label_window_sec", "watch_weight", "negatives_per_row"):
            value = getattr(self.data, name)
            require(value >= 0, f"data.{name}", value, "0 or more")
        _require_positive(
            self.data, "data", ("max_line_bytes", "partitions", "rows_per_record", "shards")
        )
        _require_positive(self.describe, "describe", ("sample_rows", "bins", "head"))
        _require_positive(
            self.model,
            "model",
            ("embedding_dim", "residual_width", "temperature"),
        )
        low, high = self.model.temperature_bounds
        require(
            0.0 < low < high,
            "model.temperature_bounds",
            self.model.temperature_bounds,
            "two positive numbers, the lesser first",
        )
        require(
            not self.model.learn_temperature or low < self.model.temperature < high,
            "model.temperature",
            self.model.temperature,
            f"a number between the bounds, {low} and {high}, to learn it",
        )
        require(
            not self.model.learn_temperature or self.loss.kind is not LossKind.TRIPLET,
            "model.learn_temperature",
            self.model.learn_temperature,
            "false: the triplet loss is on cosines and knows of no temperature",
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
                "target_window",
            ),
        )
        projected = self.tensorboard.projector_items
        require(projected >= 0, "tensorboard.projector_items", projected, "0 or more")
        _require_positive(
            self.export, "export", ("k", "popularity_half_life", "rebuild_share", "max_latency_ms")
        )
        require(
            self.export.popularity_days >= 0,
            "export.popularity_days",
            self.export.popularity_days,
            "0 or more",
        )
        for path, share in (
            ("model.dropout", self.model.dropout),
            ("train.history_dropout", self.train.history_dropout),
            ("train.item_id_dropout", self.train.item_id_dropout),
            ("train.warmup_fraction", self.train.warmup_fraction),
            ("export.popularity_weight", self.export.popularity_weight),
            ("export.quality_margin", self.export.quality_margin),
        ):
            require(0.0 <= share < 1.0, path, share, "a share in [0, 1)")
        for name in ("max_category_drift", "max_number_drift"):
            bound = getattr(self.describe, name)
            require(0.0 <= bound <= 1.0, f"describe.{name}", bound, "a number in [0, 1]")
        require(
            0.0 < self.train.max_item_cosine <= 1.0,
            "train.max_item_cosine",
            self.train.max_item_cosine,
            "a cosine in (0, 1]",
        )
        _validate_feature_dropout(self.train.feature_dropout, self.features)
        self.loss.validate()
        self.eval.validate()
        return self


def _protocol(given: Protocol | str) -> Protocol:
    names = [each.value for each in Protocol]
    name = given.value if isinstance(given, Protocol) else given
    require(name in names, "eval.protocols", name, "one of " + ", ".join(names))
    return Protocol(name)


def _validate_feature_dropout(dropout: dict[str, float], features: dict[str, Feature]) -> None:
    for name, share in dropout.items():
        path = f"train.feature_dropout.{name}"
        require(
            name in features and name != "item_id" and not isinstance(features[name], Sequence),
            path,
            share,
            "the name of a feature, neither item_id nor the history",
        )
        require(0.0 <= share < 1.0, path, share, "a share in [0, 1)")


def _require_positive(part: object, path: str, names: tuple[str, ...]) -> None:
    known = {each.name for each in fields(part)}  # type: ignore[arg-type]
    assert known.issuperset(names)
    for name in names:
        value = getattr(part, name)
        require(value > 0, f"{path}.{name}", value, "a positive number")


def _validate_split(split: Split) -> None:
    if split.by is SplitBy.FRACTION:
        require(
            0.0 < split.validation_fraction <= split.test_fraction < 1.0,
            "data.split",
            (split.validation_fraction, split.test_fraction),
            "0 < validation_fraction <= test_fraction < 1",
        )
    elif split.by is SplitBy.DATE:
        require(
            "" < split.validation_date <= split.test_date,
            "data.split",
            (split.validation_date, split.test_date),
            "validation_date <= test_date, each YYYY-MM-DD",
        )
