"""The studies: which settings each compares, on which rows of the table of quality."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality import Row
from configs.kinds import Causal
from configs.schema import Correction, LossKind

Setting = Mapping[str, Any]
"""Values by their path in the config: what differs from the row's preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That one setting of a study reaches a multiple of another's metrics on the test split.

    Attributes:
        ours: name of the setting.
        than: name of the one that it is held against.
        at_least: by metric, the least ratio of the two.
    """

    ours: str
    than: str
    at_least: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Settings trained on the same data with the same seeds for the same number of epochs.

    Attributes:
        name: on the command line and in file names.
        question: what it answers.
        settings: by name, in the order of the table.
        rows: whose presets they change, each with its data; all of them run.
        claim: what is held to a bound.
    """

    name: str
    question: str
    settings: Mapping[str, Setting]
    rows: tuple[Row, ...] = (Row.ML1M_LOO,)
    claim: Claim | None = field(default=None)


def _each(path: str, values: tuple[Any, ...]) -> dict[str, Setting]:
    """One setting a value of one field."""
    return {f"{getattr(value, 'value', value)}": {path: value} for value in values}


_IN_BATCH = {"loss.kind": LossKind.SAMPLED_SOFTMAX, "loss.uniform_negatives": 0}
# As in the literature: an item that the row's user had is a negative like any other.
_HISTORY_TOO = {"loss.mask_history": False}
_UNIFORM = "loss.uniform_negatives"
_HISTORY = "features.history"

_SAMPLED_AND_FULL = _each("loss.kind", (LossKind.SAMPLED_SOFTMAX, LossKind.FULL_SOFTMAX))


def _sampled_over_full(at_least: Mapping[str, float]) -> Claim:
    ours, than = _SAMPLED_AND_FULL
    return Claim(ours=ours, than=than, at_least=at_least)


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="batch_size",
            question="How many rows should a step take?",
            settings=_each("train.batch_size", (64, 256, 512, 1_024, 2_048, 4_096)),
        ),
        Study(
            name="temperature",
            question="What should dot products be divided by?",
            settings=_each("model.temperature", (0.01, 0.03, 0.05, 0.07, 0.1, 0.5))
            | {"learnt": {"model.learn_temperature": True}},
        ),
        Study(
            name="loss",
            question="Which loss?",
            settings=_each("loss.kind", tuple(LossKind)),
        ),
        Study(
            name="negatives",
            question="What should a positive be told apart from?",
            settings={
                "in-batch": {_UNIFORM: 0},
                "uniform 1024": {"loss.in_batch_negatives": False},
                "in-batch + uniform 256": {_UNIFORM: 256},
                "in-batch + uniform 1024": {_UNIFORM: 1_024},
                "in-batch + memory 8192": {_UNIFORM: 0, "loss.memory_size": 8_192},
            },
        ),
        Study(
            name="correction",
            question="How should popular negatives be made up for, with uniform ones beside?",
            settings=_each("loss.correction", tuple(Correction)),
        ),
        Study(
            name="history_encoder",
            question="What should be made of a history?",
            # Sequences: a causal transformer over single rows takes twenty times as long.
            rows=(Row.ML1M_LOO_CAUSAL,),
            settings={
                "mean of 50": {f"{_HISTORY}.causal": None, f"{_HISTORY}.windows": (50,)},
                "decayed means": {
                    f"{_HISTORY}.causal": None,
                    f"{_HISTORY}.windows": (50,),
                    f"{_HISTORY}.half_lives_days": (0.01, 1.0, 30.0),
                },
                "means of 50, 10, 3, 1": {f"{_HISTORY}.causal": None},
                "transformer": {f"{_HISTORY}.windows": (), f"{_HISTORY}.causal": Causal()},
                "means and transformer": {f"{_HISTORY}.causal": Causal()},
            },
        ),
        Study(
            name="tower",
            question="Residual MLP, cross network, or both?",
            settings={
                "residual": {"model.cross_layers": 0},
                "cross": {"model.residual_width": 0},
                "both": {},
                "neither": {"model.cross_layers": 0, "model.residual_width": 0},
            },
        ),
        Study(
            name="in_batch_correction",
            question="What is the correction worth where all negatives come from the batch?",
            rows=(Row.ML1M_LOO, Row.SHORT_VIDEO),
            settings={
                correction.value: _IN_BATCH | _HISTORY_TOO | {"loss.correction": correction}
                for correction in (Correction.EXPECTED_COUNT, Correction.NONE)
            },
            claim=Claim(
                ours=Correction.EXPECTED_COUNT.value,
                than=Correction.NONE.value,
                at_least={"Recall@100": 1.2, "HR@10": 1.4},
            ),
        ),
        Study(
            name="sampled_pooled",
            question="What does sampling lose against the full softmax, with pooled histories?",
            settings=_SAMPLED_AND_FULL,
            claim=_sampled_over_full({"HR@10": 0.99, "Recall@100": 0.99}),
        ),
        Study(
            name="sampled_causal",
            question="What does sampling lose against the full softmax, with a transformer?",
            rows=(Row.ML1M_LOO_CAUSAL,),
            settings=_SAMPLED_AND_FULL,
            claim=_sampled_over_full({"Recall@100": 0.95}),
        ),
    )
}
