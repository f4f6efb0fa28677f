"""The kinds of features, and what each declares.

Fields that are `free` do not change what a dataset says (they shape the model, or how files are
laid out) and may differ between preprocessing and training. Every other field of the features and
of `configs.schema.Data` is part of the dataset's fingerprint.

`base` and `counts` hold what features are declared with; `categorical`, `numerical`, `text` and
`positives` the kinds, by what their values are.
"""

from configs.checks import require
from configs.kinds.base import Entity, Feature, Freshness
from configs.kinds.categorical import Bag, HashedId, OneHot, Vocabulary
from configs.kinds.counts import COUNTABLE, EVENTS, MS_PER_MINUTE, POSITIVE, Count, Measure, Unit
from configs.kinds.numerical import Bounded, Bucketized, Cyclical, Dense, LogZScore, Period
from configs.kinds.positives import Causal, Distribution, Sequence
from configs.kinds.text import Text, TextEncoder

__all__ = [
    "Bag",
    "Bounded",
    "Bucketized",
    "COUNTABLE",
    "Causal",
    "Count",
    "Cyclical",
    "Dense",
    "Distribution",
    "EVENTS",
    "Entity",
    "Feature",
    "Freshness",
    "HashedId",
    "KINDS",
    "LogZScore",
    "MS_PER_MINUTE",
    "Measure",
    "OneHot",
    "POSITIVE",
    "Period",
    "Sequence",
    "Text",
    "TextEncoder",
    "Unit",
    "Vocabulary",
    "validate_features",
]

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
