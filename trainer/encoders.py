"""One encoder for each kind of feature: from raw columns to numbers, from numbers to vectors.

`look_up` takes raw columns (strings, times, counts) and gives integers and floats; it runs in
tf.data when training and inside the exported model when serving, so the two cannot differ. `call`
embeds what `look_up` gave; it is numeric only.
"""

import abc
from collections.abc import Mapping

import tensorflow as tf

from configs.kinds import (
    Bucketized,
    Dense,
    Distribution,
    Entity,
    Feature,
    HashedId,
    LogZScore,
    OneHot,
    Vocabulary,
)
from preprocessing.features import SECONDS_PER_DAY, TIMESTAMP, FeatureSpec, columns_of
from trainer.catalog import Assets

_EMBEDDING_STD = 0.05

Raw = Mapping[str, tf.Tensor]


class EmbeddingTable(tf.Module):
    """Rows of an embedding, updated sparsely.

    Attributes:
        table: float32 [rows, dim].
    """

    def __init__(self, rows: int, dim: int, *, name: str, seed: int) -> None:
        """Normal initial values of standard deviation 0.05."""
        super().__init__(name=name)
        initial = tf.random.stateless_normal([rows, dim], [seed, rows], stddev=_EMBEDDING_STD)
        self.table = tf.Variable(initial, name=f"{name}_table")

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        """Rows of the table: int [...] to float32 [..., dim]."""
        return tf.gather(self.table, index)


class Encoder(tf.keras.layers.Layer, abc.ABC):
    """Base of all kinds.

    Attributes:
        feature_name: the feature's name in the config.
        feature: its declaration.
    """

    def __init__(self, name: str, feature: Feature) -> None:
        """Remembers the declaration."""
        super().__init__(name=f"encode_{name}")
        self.feature_name = name
        self.feature = feature
        self.columns = tuple(c.name for c in columns_of(name, feature))

    @abc.abstractmethod
    def look_up(self, raw: Raw) -> tf.Tensor:
        """Raw columns [N, ...] by name to this feature's numbers [N, ...]."""

    @abc.abstractmethod
    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """What `look_up` gave, [N, ...], to float32 [N, dim]."""


class HashedIdEncoder(Encoder):
    """Mean of the rows that several salted hashes of an id point to.

    Source: Tito Svenstrup et al., Hash Embeddings (2017), without importance weights.
    """

    def __init__(self, name: str, feature: HashedId, *, seed: int) -> None:
        """One table for all hashes."""
        super().__init__(name, feature)
        self.num_hashes, self.num_buckets = feature.num_hashes, feature.num_buckets
        self.embedding = EmbeddingTable(feature.num_buckets, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """String [N] to int64 [N, hashes]."""
        ids = raw[self.columns[0]]
        hashes = [
            tf.strings.to_hash_bucket_strong(ids, self.num_buckets, [salt, 0x5EED])
            for salt in range(self.num_hashes)
        ]
        return tf.stack(hashes, -1)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N, hashes] to float32 [N, dim]."""
        return tf.reduce_mean(self.embedding(looked_up), -2)


def _vocabulary_table(values: list[str]) -> tf.lookup.StaticHashTable:
    """Values to ids from 1; anything else, '' too, to 0."""
    # An empty initializer is refused: the empty string stands for itself, at 0.
    keys = tf.constant(["", *values], tf.string)
    ids = tf.range(len(values) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), 0)


class VocabularyEncoder(Encoder):
    """An embedding for each value of a vocabulary, and one for all others."""

    def __init__(self, name: str, feature: Vocabulary, values: list[str], *, seed: int) -> None:
        """Values most frequent first."""
        super().__init__(name, feature)
        self.lookup_table = _vocabulary_table(values)
        self.embedding = EmbeddingTable(len(values) + 1, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """String [N] to int64 [N], 0 for what the vocabulary does not hold."""
        return self.lookup_table.lookup(raw[self.columns[0]])

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N] to float32 [N, dim]."""
        return self.embedding(looked_up)


class OneHotEncoder(Encoder):
    """One input for each value of a small vocabulary, and one for all others."""

    def __init__(self, name: str, feature: OneHot, values: list[str]) -> None:
        """Values most frequent first."""
        super().__init__(name, feature)
        self.lookup_table = _vocabulary_table(values)
        self.depth = len(values) + 1

    def look_up(self, raw: Raw) -> tf.Tensor:
        """String [N] to int64 [N], 0 for what the vocabulary does not hold."""
        return self.lookup_table.lookup(raw[self.columns[0]])

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N] to float32 [N, values + 1]."""
        return tf.one_hot(looked_up, self.depth)


class BucketizedEncoder(Encoder):
    """An embedding for each interval between boundaries; a boundary begins its interval."""

    def __init__(self, name: str, feature: Bucketized, *, seed: int) -> None:
        """One more interval than boundaries."""
        super().__init__(name, feature)
        self.boundaries = tuple(float(b) for b in feature.boundaries)
        rows = len(feature.boundaries) + 1
        self.embedding = EmbeddingTable(rows, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N] to int64 [N]."""
        bounds = tf.constant(self.boundaries, tf.float32)
        return tf.searchsorted(bounds, raw[self.columns[0]], side="right", out_type=tf.int64)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N] to float32 [N, dim]."""
        return self.embedding(looked_up)


class LogZScoreEncoder(Encoder):
    """(log(1 + x) - mean) / std over train rows; 0 where x is missing."""

    def __init__(self, name: str, feature: LogZScore, statistics: Mapping[str, float]) -> None:
        """Takes `mean` and `std` of log(1 + x)."""
        super().__init__(name, feature)
        self.elapsed, self.is_item = feature.elapsed, feature.entity is Entity.ITEM
        self.is_count = feature.count is not None
        self.mean, self.std = statistics["mean"], statistics["std"]

    def look_up(self, raw: Raw) -> tf.Tensor:
        """A number or a time [N] to float32 [N]; a time wants `timestamp` or an item's `day`."""
        value = raw[self.columns[0]]
        if self.elapsed:
            now = raw["day"] * SECONDS_PER_DAY if self.is_item else raw[TIMESTAMP]
            missing = value <= 0
            days = tf.cast(tf.maximum(now - value, 0), tf.float32) / SECONDS_PER_DAY
        else:
            days = tf.cast(value, tf.float32)
            missing = days < 0
        scaled = (tf.math.log1p(tf.maximum(days, 0.0)) - self.mean) / self.std
        return tf.where(missing, tf.zeros_like(scaled), scaled)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N] to float32 [N, 1]."""
        return looked_up[..., tf.newaxis]


class DenseEncoder(Encoder):
    """A vector as it is."""

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N, length], unchanged."""
        return raw[self.columns[0]]

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, length], unchanged."""
        return looked_up


class DistributionEncoder(Encoder):
    """Counts over a vocabulary, as shares; what the vocabulary does not hold shares slot 0."""

    def __init__(self, name: str, feature: Distribution, values: list[str]) -> None:
        """Values of the item feature that is counted."""
        super().__init__(name, feature)
        self.lookup_table = _vocabulary_table(values)
        self.depth = len(values) + 1

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Keys string [N, K] and counts int64 [N, K], '' and 0 as padding, to shares [N, depth]."""
        keys, counts = (raw[column] for column in self.columns)
        counts = tf.cast(tf.maximum(counts, 0), tf.float32)
        rows = tf.broadcast_to(
            tf.range(tf.shape(keys, tf.int64)[0])[:, tf.newaxis], tf.shape(keys, tf.int64)
        )
        cells = tf.stack([rows, self.lookup_table.lookup(keys)], -1)
        shape = tf.stack([tf.shape(keys, tf.int64)[0], self.depth])
        return tf.math.divide_no_nan(
            tf.scatter_nd(tf.reshape(cells, [-1, 2]), tf.reshape(counts, [-1]), shape),
            tf.reduce_sum(counts, 1, keepdims=True),
        )

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, depth], unchanged."""
        return looked_up


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
            return LogZScoreEncoder(name, feature, assets.statistics[name])
        case Dense():
            return DenseEncoder(name, feature)
        case Distribution():
            return DistributionEncoder(name, feature, assets.vocabularies[feature.of])
    raise TypeError(f"features.{name}: no encoder for {type(feature).__name__}")
