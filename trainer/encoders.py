"""One encoder for each kind of feature: from raw columns to numbers, from numbers to vectors.

`look_up` takes raw columns (strings, times, counts) and gives integers and floats; it runs in
tf.data when training and inside the exported model when serving, so the two cannot differ. `call`
embeds what `look_up` gave; it is numeric only.
"""

import abc
import math
from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf

from configs.kinds import (
    Bag,
    Bounded,
    Bucketized,
    Cyclical,
    Dense,
    Distribution,
    Entity,
    Feature,
    HashedId,
    LogZScore,
    OneHot,
    Period,
    Text,
    Vocabulary,
)
from preprocessing.features import SECONDS_PER_DAY, TIMESTAMP, FeatureSpec, columns_of
from trainer.catalog import Assets
from trainer.day_statistics import DayStatistics, over_items

_EMBEDDING_STD = 0.05
_ROWS_AT_ONCE = 2**18

Raw = Mapping[str, tf.Tensor]
LookedUp: TypeAlias = "tf.Tensor | tuple[tf.Tensor, ...]"


class EmbeddingTable(tf.Module):
    """Rows of an embedding, updated sparsely.

    Attributes:
        table: float32 [rows, dim].
    """

    def __init__(self, rows: int, dim: int, *, name: str, seed: int) -> None:
        """Normal initial values of standard deviation 0.05."""
        super().__init__(name=name)
        self.table = tf.Variable(tf.zeros([rows, dim]), name=f"{name}_table")
        # Drawn at once the table would be in memory three times, which TensorFlow keeps.
        for first in range(0, rows, _ROWS_AT_ONCE):
            row = tf.range(first, min(first + _ROWS_AT_ONCE, rows))
            drawn = tf.random.stateless_normal(
                [len(row), dim], [seed, rows + first], stddev=_EMBEDDING_STD
            )
            tf.distribute.get_strategy().extended.update(self.table, _put, args=(row, drawn))

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        """Rows of the table: int [...] to float32 [..., dim]."""
        return tf.gather(self.table, index)


def _put(table: tf.Variable, row: tf.Tensor, values: tf.Tensor) -> None:
    table.scatter_update(tf.IndexedSlices(values, row))


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
    def look_up(self, raw: Raw) -> LookedUp:
        """Raw columns [N, ...] by name to this feature's numbers [N, ...]."""

    @abc.abstractmethod
    def call(self, looked_up: LookedUp) -> tf.Tensor:
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
        return _hash(raw[self.columns[0]], self.num_hashes, self.num_buckets)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N, hashes] to float32 [N, dim]."""
        return tf.reduce_mean(self.embedding(looked_up), -2)


def _hash(ids: tf.Tensor, num_hashes: int, num_buckets: int) -> tf.Tensor:
    """Strings [...] to buckets int64 [..., hashes]."""
    hashes = [
        tf.strings.to_hash_bucket_strong(ids, num_buckets, [salt, 0x5EED])
        for salt in range(num_hashes)
    ]
    return tf.stack(hashes, -1)


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
    """(log(1 + x) - mean) / std over train rows, or over the day's items; 0 where x is missing."""

    def __init__(
        self,
        name: str,
        feature: LogZScore,
        statistics: Mapping[str, float],
        days: DayStatistics | None = None,
    ) -> None:
        """Takes `mean` and `std` of log(1 + x), or those of each day."""
        super().__init__(name, feature)
        self.elapsed, self.is_item = feature.elapsed, feature.entity is Entity.ITEM
        self.unit = feature.count.unit.size if feature.count is not None else 1
        self.mean, self.std = statistics["mean"], statistics["std"]
        self._days = days

    def look_up(self, raw: Raw) -> tf.Tensor:
        """A number or a time [N] to float32 [N]; a time wants `timestamp` or an item's `day`."""
        value = raw[self.columns[0]]
        if self.elapsed:
            now = raw["day"] * SECONDS_PER_DAY if self.is_item else raw[TIMESTAMP]
            missing = value <= 0
            days = tf.cast(tf.maximum(now - value, 0), tf.float32) / SECONDS_PER_DAY
        else:
            days = tf.cast(value, tf.float32) / self.unit
            missing = days < 0
        mean, std = self.mean, self.std
        if self._days is not None:
            day = tf.clip_by_value(raw["day"] - self._days.first_day, 0, len(self._days.mean) - 1)
            mean, std = tf.gather(self._days.mean, day), tf.gather(self._days.std, day)
        scaled = (tf.math.log1p(tf.maximum(days, 0.0)) - mean) / std
        return tf.where(missing, tf.zeros_like(scaled), scaled)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N] to float32 [N, 1]."""
        return looked_up[..., tf.newaxis]


class BoundedEncoder(Encoder):
    """A share in [0, 1] and whether it is known; (0, 0) where it is not."""

    def look_up(self, raw: Raw) -> tf.Tensor:
        """A share float32 [N], or two sums int64 [N], to float32 [N, 2]."""
        if len(self.columns) == 1:
            share = raw[self.columns[0]]
            known = share >= 0
        else:
            part, whole = (tf.cast(raw[column], tf.float32) for column in self.columns)
            known = whole > 0
            share = tf.math.divide_no_nan(part, whole)
        share = tf.where(known, tf.clip_by_value(share, 0.0, 1.0), 0.0)
        return tf.stack([share, tf.cast(known, tf.float32)], -1)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, 2], unchanged."""
        return looked_up


_PERIODS = {
    Period.DAY: (SECONDS_PER_DAY, 0),
    # 1970-01-01 was a Thursday, the fourth day of its week.
    Period.WEEK: (7 * SECONDS_PER_DAY, 3 * SECONDS_PER_DAY),
}
"""Seconds of each period, and what stood on its clock at time 0."""


class CyclicalEncoder(Encoder):
    """Where in its period a time stands, on the unit circle; a missing time is at its centre."""

    def __init__(self, name: str, feature: Cyclical) -> None:
        """Takes the period."""
        super().__init__(name, feature)
        self.seconds, self.offset = _PERIODS[feature.period]

    def look_up(self, raw: Raw) -> tf.Tensor:
        """UTC seconds int64 [N] to sine and cosine, float32 [N, 2]."""
        time = raw[self.columns[0]]
        # The remainder of whole seconds first: float32 does not tell today's seconds apart.
        within = tf.cast(tf.math.floormod(time + self.offset, self.seconds), tf.float32)
        angle = within * (2 * math.pi / self.seconds)
        on_circle = tf.stack([tf.sin(angle), tf.cos(angle)], -1)
        return tf.where((time > 0)[..., tf.newaxis], on_circle, tf.zeros_like(on_circle))

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, 2], unchanged."""
        return looked_up


class BagEncoder(Encoder):
    """The mean of the embeddings of several values; zeros where there is none."""

    def __init__(self, name: str, feature: Bag, values: list[str], *, seed: int) -> None:
        """Values most frequent first."""
        super().__init__(name, feature)
        self.lookup_table = _vocabulary_table(values)
        self.embedding = EmbeddingTable(len(values) + 1, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """String [N, L], '' as padding, to int64 [N, L]: 0 for strangers, -1 for padding."""
        values = raw[self.columns[0]]
        return tf.where(values == "", tf.constant(-1, tf.int64), self.lookup_table.lookup(values))

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N, L] to float32 [N, dim]."""
        real = tf.cast(looked_up >= 0, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(self.embedding(tf.maximum(looked_up, 0)) * real, -2)
        return tf.math.divide_no_nan(total, tf.reduce_sum(real, -2))


class TextEncoder(Encoder):
    """A learned projection of a frozen encoder's vector; zeros stay zeros."""

    def __init__(self, name: str, feature: Text) -> None:
        """Width from the feature."""
        super().__init__(name, feature)
        self.project = tf.keras.layers.Dense(feature.dim, use_bias=False)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N, TEXT_LENGTH], unchanged."""
        return raw[self.columns[0]]

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, TEXT_LENGTH] to float32 [N, dim]."""
        return self.project(looked_up)


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


class HashedDistributionEncoder(Encoder):
    """The mean, weighted by count, of the embeddings of hashed ids; zeros where there is none."""

    def __init__(self, name: str, feature: Distribution, of: HashedId, *, seed: int) -> None:
        """Hashes as the item feature `of` does, into a table of its own."""
        super().__init__(name, feature)
        self.num_hashes, self.num_buckets = of.num_hashes, of.num_buckets
        self.embedding = EmbeddingTable(of.num_buckets, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys string [N, K] and counts int64 [N, K] to int64 [N, K, hashes] and shares [N, K]."""
        keys, counts = (raw[column] for column in self.columns)
        counts = tf.cast(tf.maximum(counts, 0), tf.float32)
        shares = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, 1, keepdims=True))
        return _hash(keys, self.num_hashes, self.num_buckets), shares

    def call(self, looked_up: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """What `look_up` gave to float32 [N, dim]."""
        buckets, shares = looked_up
        vectors = tf.reduce_mean(self.embedding(buckets), -2)
        return tf.reduce_sum(vectors * shares[..., tf.newaxis], -2)


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
