"""What a run is: one dataclass per part, each able to say in one line what is wrong with it."""

from dataclasses import dataclass, field

from configs.checks import require, require_types
from configs.data import (
    DamagedFiles,
    Data,
    Describe,
    Form,
    PositiveRule,
    Seen,
    Split,
    SplitBy,
    Ties,
)
from configs.evaluation import Eval, Protocol
from configs.export import Export, Index
from configs.kinds import Feature, Sequence, validate_features
from configs.simulation import ShortVideoSimulation, StreamRecSimulation
from configs.training import (
    Correction,
    Distribution,
    Duplicates,
    Frequency,
    Loss,
    LossKind,
    Model,
    Precision,
    TensorBoard,
    Train,
)

__all__ = [
    "Config",
    "Correction",
    "DamagedFiles",
    "Data",
    "Describe",
    "Distribution",
    "Duplicates",
    "Eval",
    "Export",
    "Form",
    "Frequency",
    "Index",
    "Loss",
    "LossKind",
    "Model",
    "PositiveRule",
    "Precision",
    "Protocol",
    "Seen",
    "Split",
    "SplitBy",
    "TensorBoard",
    "Ties",
    "Train",
]


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
        require_types(self)
        self.simulation.validate()
        validate_features(self.features)
        for part in (self.data, self.describe, self.model, self.loss, self.eval, self.tensorboard):
            part.validate()
        self.train.validate(self.features)
        self.export.validate()
        if self.loss.mask_history is None:
            self.loss.mask_history = self.eval.exclude_seen and not self.data.repeats
        require(
            not (self.loss.mask_history and self.data.repeats),
            "loss.mask_history",
            self.loss.mask_history,
            "false with data.repeats: what is in the history may be liked again",
        )
        loo = self.data.split.by is SplitBy.LOO
        for protocol in self.eval.protocols:
            is_loo = protocol in (Protocol.LOO_FILE, Protocol.LOO_STRICT)
            require(
                is_loo == loo,
                "eval.protocols",
                protocol.value,
                f"a protocol that data.split.by={self.data.split.by.value} makes queries for",
            )
        require(
            self.loss.impressed_negatives <= self.data.negatives_per_row,
            "loss.impressed_negatives",
            self.loss.impressed_negatives,
            f"at most data.negatives_per_row, {self.data.negatives_per_row}, that rows hold",
        )
        length = next(f for f in self.features.values() if isinstance(f, Sequence)).max_length
        require(
            self.data.sequence_context < length or self.data.form is Form.ROW,
            "data.sequence_context",
            self.data.sequence_context,
            f"below the {length} positives that a history holds",
        )
        require(
            not self.loss.symmetric or self.train.distribution is Distribution.NONE,
            "train.distribution",
            self.train.distribution.value,
            "none: of a symmetric loss each replica would need the others' users too",
        )
        is_rows = self.data.form is Form.ROW
        require(
            is_rows or self.train.distribution is Distribution.NONE,
            "train.distribution",
            self.train.distribution.value,
            "none where data.form is sequence: replicas share batches by rows",
        )
        require(
            is_rows or not self.train.jit_compile,
            "train.jit_compile",
            self.train.jit_compile,
            "false where data.form is sequence: no two batches have as many rows",
        )
        require(
            not self.train.batch_days or self.data.form is Form.ROW,
            "train.batch_days",
            self.train.batch_days,
            "0 where data.form is sequence: a sequence is of all of its user's days",
        )
        if self.train.batch_days:
            for name, found, plain in (
                ("loss.memory_size", self.loss.memory_size, 0),
                ("loss.symmetric", self.loss.symmetric, False),
                ("loss.frequency", self.loss.frequency.value, Frequency.COUNTED.value),
            ):
                require(
                    found == plain,
                    name,
                    found,
                    f"{plain} with train.batch_days: shares are of the rows of a batch's days",
                )
        require(
            not self.model.learn_temperature or self.loss.kind is not LossKind.TRIPLET,
            "model.learn_temperature",
            self.model.learn_temperature,
            "false: the triplet loss is on cosines and knows of no temperature",
        )
        return self
