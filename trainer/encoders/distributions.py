"""Encoders of what a user's positives are spread over."""

import tensorflow as tf

from configs.kinds import Distribution, HashedId
from trainer.encoders.base import Encoder, Raw
from trainer.encoders.tables import EmbeddingTable, hash_ids, vocabulary_table


class DistributionEncoder(Encoder):
    """Counts over a vocabulary, as shares; what the vocabulary does not hold shares slot 0."""

    def __init__(self, name: str, feature: Distribution, values: list[str]) -> None:
        """Values of the item feature that is counted."""
        super().__init__(name, feature)
        self.lookup_table = vocabulary_table(values)
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
        return hash_ids(keys, self.num_hashes, self.num_buckets), shares

    def call(self, looked_up: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """What `look_up` gave to float32 [N, dim]."""
        buckets, shares = looked_up
        at = tf.where(shares > 0)  # padding is most of it
        vectors = tf.reduce_mean(self.embedding(tf.gather_nd(buckets, at)), -2)
        weighted = vectors * tf.gather_nd(shares, at)[:, tf.newaxis]
        return tf.math.unsorted_segment_sum(weighted, at[:, 0], tf.shape(shares)[0])
