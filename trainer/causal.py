"""A causal transformer over a user's history: every place's vector knows of what came before."""

import math

import tensorflow as tf

from configs.kinds import Causal
from trainer.ages import AGE_BUCKETS, age_bucket
from trainer.encoders import EmbeddingTable

_INNER = 4  # units of the feed-forward layer over the width, as in Vaswani et al.
_MASKED = -1e9


class CausalTransformer(tf.keras.layers.Layer):
    """Attention among the items of a history, each to itself and those before it.

    A query reads the vector at the newest item that it knows of, to which it adds how long ago that
    item was. What an item's vector holds depends on the items before it alone, so that the queries
    after every item are answered in one pass. Attention knows of order and time by a bias for the
    number of items between two, and one for the time between them; both are relative, so that a
    history that is cut off at its old end reads alike wherever it begins.

    Source: Kang and McAuley, Self-Attentive Sequential Recommendation (ICDM 2018); pre-norm blocks
        of Vaswani et al., Attention Is All You Need (2017), as in Xiong et al. (2020); the bias by
        distance is Raffel et al., T5 (2020), section 2.1, after Shaw et al. (2018), without its
        buckets; by time, Li et al., TiSASRec (WSDM 2020), as a bias and on a logarithmic scale.
    """

    def __init__(self, name: str, config: Causal, *, max_length: int, seed: int) -> None:
        """Builds the blocks.

        Args:
            name: of the feature.
            config: their sizes.
            max_length: of histories; two items farther apart are taken to be so far.
            seed: of initial embedding rows.
        """
        super().__init__(name="causal")
        self.width = config.width
        self._max_length = max_length
        self.project = tf.keras.layers.Dense(config.width, use_bias=False)
        self.gap, self.since = (
            EmbeddingTable(AGE_BUCKETS, config.width, name=f"{name}_{of}", seed=seed + index)
            for index, of in enumerate(("gap", "since"))
        )
        per_distance = config.blocks * config.heads
        self.by_distance = self.add_weight(
            "bias_by_distance", [max_length, 1, per_distance], initializer="zeros"
        )
        self.by_time = self.add_weight(
            "bias_by_time", [1, AGE_BUCKETS, per_distance], initializer="zeros"
        )
        self.drop = tf.keras.layers.Dropout(config.dropout)
        self.blocks = [
            _Block(config.width, config.heads, config.dropout) for _ in range(config.blocks)
        ]
        self.norm = tf.keras.layers.LayerNormalization()

    def call(
        self,
        vectors: tf.Tensor,
        mask: tf.Tensor,
        age: tf.Tensor,
        sequence: tf.Tensor,
        end: tf.Tensor,
        query_age: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Answers B queries about S sequences.

        Args:
            vectors: float32 [S, L, dim] of the items, oldest first.
            mask: bool [S, L], false for padding, which may stand at either end.
            age: int64 [S, L], seconds from the item to a time that is the sequence's own.
            sequence: int64 [B], which one each query is about.
            end: int64 [B], the query knows of the first so many items of it.
            query_age: int64 [B], seconds from the query to that time.
            training: whether units drop out.

        Returns:
            float32 [B, width]; zeros for a query that knows of no item.
        """
        place = tf.cumsum(tf.cast(mask, tf.int64), axis=1) - 1
        before = tf.concat([age[:, :1], age[:, :-1]], 1)
        gap = tf.where(place > 0, tf.maximum(before - age, 0), 0)
        hidden = self.drop(self.project(vectors) + self.gap(age_bucket(gap)), training=training)
        biases = self._biases(mask, place, age)
        for block, bias in zip(self.blocks, biases, strict=True):
            hidden = block(hidden, bias, training=training)

        place = tf.where(mask, place, -1)
        is_newest = tf.gather(place, sequence) == end[:, tf.newaxis] - 1
        newest = tf.stack([sequence, tf.argmax(tf.cast(is_newest, tf.int32), 1)], 1)
        since = tf.maximum(tf.gather_nd(age, newest) - query_age, 0)
        read = tf.gather_nd(hidden, newest) + self.since(age_bucket(since))
        return self.norm(read) * tf.cast(end > 0, read.dtype)[:, tf.newaxis]

    def _biases(self, mask: tf.Tensor, place: tf.Tensor, age: tf.Tensor) -> list[tf.Tensor]:
        """For each block what is added to its logits: float32 [S, heads, L, L]."""
        distance = place[:, :, tf.newaxis] - place[:, tf.newaxis]
        is_before = mask[:, tf.newaxis] & (distance >= 0)
        distance = tf.clip_by_value(distance, 0, self._max_length - 1)
        between = tf.maximum(age[:, tf.newaxis] - age[:, :, tf.newaxis], 0)
        # Both at once: a gather of millions of places costs more than all the rest.
        table = tf.reshape(self.by_distance + self.by_time, [-1, self.by_time.shape[-1]])
        found = tf.gather(table, distance * AGE_BUCKETS + age_bucket(between))
        found = tf.transpose(found, [0, 3, 1, 2])
        found = tf.where(is_before[:, tf.newaxis], found, _MASKED)
        return tf.split(found, len(self.blocks), 1)


class _Block(tf.keras.layers.Layer):
    """x + attention(norm(x)), then x + W2 gelu(W1 norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads = heads
        self.norms = [tf.keras.layers.LayerNormalization() for _ in range(2)]
        self.project_in = tf.keras.layers.Dense(3 * width, use_bias=False)
        self.project_out = tf.keras.layers.Dense(width)
        self.inner = tf.keras.layers.Dense(_INNER * width, activation="gelu")
        self.outer = tf.keras.layers.Dense(width)
        self.drop = tf.keras.layers.Dropout(dropout)

    def call(self, inputs: tf.Tensor, bias: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 [S, L, width] to the same; the bias is of [S, heads, L, L]."""
        mixed = self._attend(self.norms[0](inputs), bias)
        inputs += self.drop(self.project_out(mixed), training=training)
        inner = self.outer(self.inner(self.norms[1](inputs)))
        return inputs + self.drop(inner, training=training)

    def _attend(self, inputs: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(inputs)
        width = inputs.shape[-1]
        split = tf.reshape(
            self.project_in(inputs), [shape[0], shape[1], 3, self._heads, width // self._heads]
        )
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]), num=3)
        logits = tf.matmul(query, key, transpose_b=True) / math.sqrt(width // self._heads)
        shares = tf.nn.softmax(tf.cast(logits, tf.float32) + bias)
        mixed = tf.transpose(tf.matmul(tf.cast(shares, value.dtype), value), [0, 2, 1, 3])
        return tf.reshape(mixed, [shape[0], shape[1], width])
