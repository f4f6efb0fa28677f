"""The model, its loss and its optimisation, and what is told of them while they run."""

import enum
from dataclasses import dataclass, field

from configs.checks import require, require_not_negative, require_positive, require_share
from configs.kinds import Feature, Sequence


@dataclass(slots=True, kw_only=True)
class Model:
    """The two towers (docs/architecture.md).

    Attributes:
        embedding_dim: width of both towers' output.
        residual_width: width of the residual MLP; 0: none, the cross network is alone.
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

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require_positive(self, "model", "embedding_dim", "temperature")
        require_not_negative(
            self, "model", "residual_width", "residual_blocks", "cross_layers", "cross_rank"
        )
        require_share(self, "model", "dropout")
        low, high = self.temperature_bounds
        require(
            0.0 < low < high,
            "model.temperature_bounds",
            self.temperature_bounds,
            "two positive numbers, the lesser first",
        )
        require(
            not self.learn_temperature or low < self.temperature < high,
            "model.temperature",
            self.temperature,
            f"a number between the bounds, {low} and {high}, to learn it",
        )


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


class Precision(enum.Enum):
    """What the towers are computed in while training; weights, loss and softmax are float32."""

    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"


class Distribution(enum.Enum):
    """Which devices share the rows of a step (docs/operations.md)."""

    NONE = "none"  # one
    MIRRORED = "mirrored"  # all GPUs of the machine
    MULTI_WORKER = "multi_worker"  # all GPUs of the machines that TF_CONFIG names


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
        mask_user_positives: what else a row's user liked in the batch is no negative of the row;
            false: all but the row's own item is, so that sequences teach which of a user's items
            comes next and not only which come at all.
        mask_history: what is in a row's history is no negative of the row, as it is no candidate of
            a request; None: where eval.exclude_seen says so and data.repeats is false.
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
    mask_user_positives: bool = True
    mask_history: bool | None = None
    symmetric: bool = False
    label_smoothing: float = 0.0
    margin: float = 0.2
    frequency: Frequency = Frequency.COUNTED
    frequency_arrays: int = 3
    frequency_buckets: int = 1_000_000
    frequency_rate: float = 0.01

    def validate(self) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require_not_negative(
            self, "loss", "uniform_negatives", "impressed_negatives", "memory_size"
        )
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
        require(
            self.mask_user_positives
            or not (self.symmetric or self.memory_size or self.impressed_negatives),
            "loss.mask_user_positives",
            self.mask_user_positives,
            "true for a symmetric loss, a memory or impressed negatives",
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
        require_positive(
            self, "loss", "margin", "frequency_arrays", "frequency_buckets", "frequency_rate"
        )
        require(self.frequency_rate < 1.0, "loss.frequency_rate", self.frequency_rate, "below 1")


@dataclass(slots=True, kw_only=True)
class Train:
    """The optimisation.

    Attributes:
        batch_size: rows in one step, all replicas together; sequences where data.form says so.
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
        batch_days: rows of a batch are of about so many days, and so are its negatives; 0: of all
            that `shuffle_records` hold, and in the sequence form.
        session_start_share: share of each batch's weight that rows have whose user comes back after
            the history's `session_gap_sec`; 0: what they have by themselves.
        precision: of the towers' arithmetic in training.
        jit_compile: compile the towers' training by XLA.
        steps_per_execution: steps taken by one call into TensorFlow, at most: logs, checkpoints and
            the end of an epoch keep their steps. SIGTERM is looked at between calls. 1 with several
            replicas.
        distribution: over which devices.
        shuffle_records: records mixed with one another; rows are shuffled among them.
        log_every_steps: steps between lines of TensorBoard.
        checkpoint_every_steps: steps between checkpoints; the end of an epoch is one too.
        keep_checkpoints: newest so many stay on disk, and the best by validation.
        validate_every_epochs: epochs between validations, the last epoch is followed by one too; 0
            for none.
        keep_best: the weights of the best validation (by eval.tune_by) are what is measured and
            exported; false: those of the last step.
        patience: training ends after so many validations in a row that are no better than the best
            one; 0: after all epochs.
        max_item_cosine: a mean cosine between items above it, at three checks in a row after
            warm-up and not falling, stops the run: its embeddings have collapsed. 1: never.
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
    batch_days: float = 0.0
    session_start_share: float = 0.0
    precision: Precision = Precision.FLOAT32
    jit_compile: bool = False
    steps_per_execution: int = 1
    distribution: Distribution = Distribution.NONE
    shuffle_records: int = 64
    log_every_steps: int = 50
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3
    validate_every_epochs: int = 1
    keep_best: bool = True
    patience: int = 0
    max_item_cosine: float = 0.9
    seed: int = 17

    def validate(self, features: dict[str, Feature]) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require_positive(
            self,
            "train",
            "batch_size",
            "epochs",
            "learning_rate",
            "embedding_learning_rate",
            "clip_norm",
            "log_every_steps",
            "checkpoint_every_steps",
            "keep_checkpoints",
            "shuffle_records",
            "steps_per_execution",
            "target_window",
        )
        require(
            self.patience == 0 or self.distribution is not Distribution.MULTI_WORKER,
            "train.patience",
            self.patience,
            "0 with several workers: each measures for itself, and all must end at one step",
        )
        require(
            self.steps_per_execution == 1 or self.distribution is Distribution.NONE,
            "train.steps_per_execution",
            self.steps_per_execution,
            "1 with several replicas: what they tell one another may change its shape between "
            "calls only",
        )
        require_not_negative(
            self, "train", "weight_decay", "validate_every_epochs", "patience", "batch_days"
        )
        require(
            self.patience == 0 or (self.keep_best and self.validate_every_epochs > 0),
            "train.patience",
            self.patience,
            "0 where there is no keep_best or nothing is validated",
        )
        require_share(
            self,
            "train",
            "history_dropout",
            "item_id_dropout",
            "warmup_fraction",
            "session_start_share",
        )
        require(
            0.0 < self.max_item_cosine <= 1.0,
            "train.max_item_cosine",
            self.max_item_cosine,
            "a cosine in (0, 1]",
        )
        for name, share in self.feature_dropout.items():
            path = f"train.feature_dropout.{name}"
            require(
                name in features and name != "item_id" and not isinstance(features[name], Sequence),
                path,
                share,
                "the name of a feature, neither item_id nor the history",
            )
            require(0.0 <= share < 1.0, path, share, "a share in [0, 1)")


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

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require_not_negative(self, "tensorboard", "projector_items")
