"""The encoder of each kind of feature."""

from configs.kinds import (
    Bag,
    Bounded,
    Bucketized,
    Cyclical,
    Dense,
    Distribution,
    Entity,
    HashedId,
    LogZScore,
    OneHot,
    Text,
    Vocabulary,
)
from preprocessing.features import FeatureSpec, columns_of
from trainer.catalog import Assets
from trainer.day_statistics import over_items
from trainer.encoders.base import Encoder
from trainer.encoders.categorical import (
    BagEncoder,
    HashedIdEncoder,
    OneHotEncoder,
    VocabularyEncoder,
)
from trainer.encoders.distributions import DistributionEncoder, HashedDistributionEncoder
from trainer.encoders.numerical import (
    BoundedEncoder,
    BucketizedEncoder,
    CyclicalEncoder,
    DenseEncoder,
    LogZScoreEncoder,
)
from trainer.encoders.text import TextEncoder


def make_encoder(name: str, spec: FeatureSpec, assets: Assets, *, seed: int) -> Encoder:
    """The encoder of a feature; the history's is `trainer.history`, the item id's `trainer.items`.

    Args:
        name: of the feature.
        spec: that it is part of.
        assets: vocabularies and statistics of the dataset.
        seed: of initial embedding rows.
    """
    feature = spec.features[name]
    match feature:
        case HashedId():
            return HashedIdEncoder(name, feature, seed=seed)
        case Vocabulary():
            return VocabularyEncoder(name, feature, assets.vocabularies[name], seed=seed)
        case OneHot():
            return OneHotEncoder(name, feature, assets.vocabularies[name])
        case Bucketized():
            return BucketizedEncoder(name, feature, seed=seed)
        case LogZScore():
            days = None
            if feature.by_day:
                column = list(spec.counts(Entity.ITEM)).index(columns_of(name, feature)[0].name)
                assert feature.count is not None
                days = over_items(assets.daily, column, unit=feature.count.unit.size)
            return LogZScoreEncoder(name, feature, assets.statistics[name], days)
        case Bounded():
            return BoundedEncoder(name, feature)
        case Cyclical():
            return CyclicalEncoder(name, feature)
        case Bag():
            return BagEncoder(name, feature, assets.vocabularies[name], seed=seed)
        case Text():
            return TextEncoder(name, feature)
        case Dense():
            return DenseEncoder(name, feature)
        case Distribution():
            of = spec.features[feature.of]
            if isinstance(of, HashedId):
                return HashedDistributionEncoder(name, feature, of, seed=seed)
            return DistributionEncoder(name, feature, assets.vocabularies[feature.of])
    raise TypeError(f"features.{name}: no encoder for {type(feature).__name__}")
