"""Encoders of values from a set: ids, vocabularies, several values at once."""

import tensorflow as tf

from configs.kinds import Bag, HashedId, OneHot, Vocabulary
from trainer.encoders.base import Encoder, Raw
from trainer.encoders.tables import EmbeddingTable, hash_ids, vocabulary_table


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
        return hash_ids(raw[self.columns[0]], self.num_hashes, self.num_buckets)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N, hashes] to float32 [N, dim]."""
        return tf.reduce_mean(self.embedding(looked_up), -2)


class VocabularyEncoder(Encoder):
    """An embedding for each value of a vocabulary, and one for all others."""

    def __init__(self, name: str, feature: Vocabulary, values: list[str], *, seed: int) -> None:
        """Values most frequent first."""
        super().__init__(name, feature)
        self.lookup_table = vocabulary_table(values)
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
        self.lookup_table = vocabulary_table(values)
        self.depth = len(values) + 1

    def look_up(self, raw: Raw) -> tf.Tensor:
        """String [N] to int64 [N], 0 for what the vocabulary does not hold."""
        return self.lookup_table.lookup(raw[self.columns[0]])

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N] to float32 [N, values + 1]."""
        return tf.one_hot(looked_up, self.depth)


class BagEncoder(Encoder):
    """The mean of the embeddings of several values; zeros where there is none."""

    def __init__(self, name: str, feature: Bag, values: list[str], *, seed: int) -> None:
        """Values most frequent first."""
        super().__init__(name, feature)
        self.lookup_table = vocabulary_table(values)
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
