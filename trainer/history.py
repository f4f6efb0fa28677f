"""What a user liked lately, as one vector: means of item vectors over several last-N windows."""

import tensorflow as tf

from configs.kinds import Sequence
from preprocessing.columns import SECONDS_PER_DAY
from trainer.ages import AGE_BUCKETS, age_bucket
from trainer.encoders import EmbeddingTable
from trainer.gather import Rows, members


class WindowMeans(tf.keras.layers.Layer):
    """Means over the last N items for several N, side by side.

    One mean over everything hides what the user wants now; the last item alone forgets the rest.
    Windows of a fixed number reach back as far as they must; the session's stops at the first long
    gap. Means that fade tell a short absence from a long one: an item so many days older than the
    newest weighs half as much. An item may carry its age, so that old ones say less by themselves.
    """

    def __init__(self, name: str, feature: Sequence, *, dropout: float, seed: int) -> None:
        """Takes the history's declaration.

        Args:
            name: of the feature.
            feature: windows, half-lives, session and age.
            dropout: this share of items is hidden in training.
            seed: of initial embedding rows.
        """
        super().__init__(name="window_means")
        self.windows = tuple(feature.windows)
        self.half_lives_days = tuple(feature.half_lives_days)
        self.session_length = feature.session_length
        self.session_gap_sec = feature.session_gap_sec
        self.dropout = dropout
        self.ages = (
            EmbeddingTable(AGE_BUCKETS, feature.age_dim, name=f"{name}_age", seed=seed)
            if feature.age_dim
            else None
        )

    @property
    def num_means(self) -> int:
        """Means side by side in what `call` returns."""
        return len(self.windows) + bool(self.session_length) + len(self.half_lives_days)

    def call(
        self,
        vectors: tf.Tensor | Rows,
        mask: tf.Tensor,
        age: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Pools the newest items of each row.

        Args:
            vectors: float32 [N, L, dim], oldest first; or which rows of a table they are.
            mask: bool [N, L], false for padding, which may stand at either end.
            age: int64 [N, L], seconds from each item to the request; 0 where there is no item.
            training: whether to hide items.

        Returns:
            float32 [N, means * (dim + age_dim)]; zeros where there is no item.
        """
        in_session = self._in_session(age)
        if training and self.dropout:
            mask &= tf.random.uniform(tf.shape(mask)) >= self.dropout
        inside = [mask & (_from_newest(mask) <= window) for window in self.windows]
        if self.session_length:
            session = mask & in_session
            inside.append(session & (_from_newest(session) <= self.session_length))
        bucket = None if self.ages is None else age_bucket(age)
        means = []
        if inside:
            means.append(self._means(vectors, bucket, tf.stack(inside, 1)))
        if self.half_lives_days:
            means.append(self._weighted_means(vectors, bucket, self._fading(age, mask)))
        found = tf.concat(means, 1)  # [N, means, dim + age_dim]
        return tf.reshape(found, [-1, self.num_means * found.shape[-1]])

    def _means(
        self, vectors: tf.Tensor | Rows, bucket: tf.Tensor | None, inside: tf.Tensor
    ) -> tf.Tensor:
        """Means over bool [N, means, L]."""
        if not isinstance(vectors, Rows):
            return self._weighted_means(vectors, bucket, tf.cast(inside, tf.float32))
        means = vectors.means(inside)
        if self.ages is None:
            return means
        shares = tf.reshape(_bucket_shares(bucket, inside), [-1, AGE_BUCKETS])
        of_age = shares @ tf.convert_to_tensor(self.ages.table)
        return tf.concat([means, tf.reshape(of_age, [-1, *inside.shape[1:2], of_age.shape[1]])], -1)

    def _weighted_means(
        self, vectors: tf.Tensor | Rows, bucket: tf.Tensor | None, weights: tf.Tensor
    ) -> tf.Tensor:
        """Means by weights, float32 [N, means, L]."""
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))
        means = weights @ (vectors.gathered() if isinstance(vectors, Rows) else vectors)
        if self.ages is None:
            return means
        return tf.concat([means, weights @ self.ages(bucket)], -1)

    def _fading(self, age: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Weights by age, float32 [N, half-lives, L], the newest item's 1.

        By age alone all weights of a user who was long away would be 0.
        """
        newest = tf.reduce_min(tf.where(mask, age, age.dtype.max), 1, keepdims=True)
        older = tf.cast(tf.where(mask, age - newest, 0), tf.float32) / SECONDS_PER_DAY
        weights = tf.stack([tf.pow(0.5, older / days) for days in self.half_lives_days], 1)
        return weights * tf.cast(mask, tf.float32)[:, tf.newaxis]

    def _in_session(self, age: tf.Tensor) -> tf.Tensor:
        """Whether no long gap lies between an item and the request: bool [N, L]."""
        # Padding has age 0: behind the newest item it stands for the request.
        gap = age - tf.pad(age[:, 1:], [[0, 0], [0, 1]])
        long = tf.cast(gap > self.session_gap_sec, tf.int32)
        return tf.cumsum(long, axis=1, reverse=True) == 0


def _bucket_shares(bucket: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """How the items of each mean are spread over ages, so that few rows serve all of them.

    Args:
        bucket: int64 [N, L].
        inside: bool [N, means, L].

    Returns:
        float32 [N, means, AGE_BUCKETS], shares; zeros where nothing is inside.
    """
    mean, age = members(bucket, inside)
    cell = mean * AGE_BUCKETS + age
    shape = [tf.shape(inside, tf.int64)[0], inside.shape[1], AGE_BUCKETS]
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(cell, tf.float32), cell, tf.reduce_prod(shape)
    )
    counts = tf.reshape(counts, shape)
    return tf.math.divide_no_nan(counts, tf.reduce_sum(counts, -1, keepdims=True))


def _from_newest(mask: tf.Tensor) -> tf.Tensor:
    """Place among the true ones, 1 for the last: bool [N, L] to int32 [N, L]."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1, reverse=True)
