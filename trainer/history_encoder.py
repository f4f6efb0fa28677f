"""A user's history, as vectors of what queries know of it: its encoders side by side."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from configs.kinds import Sequence
from preprocessing.columns import END_SUFFIX, TIMESTAMP
from trainer.causal import CausalTransformer
from trainer.dropout import drop_rows
from trainer.gather import Rows
from trainer.history import WindowMeans
from trainer.records import SEQUENCE_ROWS


class Asked(NamedTuple):
    """Queries about histories: B of S.

    Attributes:
        item_age: int64 [S, L], seconds from each item to the history's last query; 0 where there is
            no item.
        sequence: int64 [B], which history a query is about.
        end: int64 [B], it knows of the first so many items of it.
        age: int64 [B], seconds from the query to the history's last.
    """

    item_age: tf.Tensor
    sequence: tf.Tensor
    end: tf.Tensor
    age: tf.Tensor


class HistoryEncoder(tf.keras.layers.Layer):
    """Means of items over windows, a causal transformer, or both, by the feature's declaration.

    Rows ask one query of a history of their own; the rows of a sequence ask several of one.

    Attributes:
        means: None where the feature has no windows.
        causal: None where it has none.
    """

    def __init__(self, name: str, feature: Sequence, *, dropout: float, seed: int) -> None:
        """Takes the history's declaration.

        Args:
            name: of the feature.
            feature: its encoders.
            dropout: this share of items is hidden in training.
            seed: of initial embedding rows.
        """
        super().__init__(name="history")
        self.feature_name = name
        self._dropout = dropout
        self.means = (
            WindowMeans(name, feature, dropout=dropout, seed=seed) if feature.windows else None
        )
        self.causal = (
            CausalTransformer(name, feature.causal, max_length=feature.max_length, seed=seed + 1)
            if feature.causal is not None
            else None
        )

    def widths(self, of_item: list[int]) -> list[int]:
        """Widths of what `call` puts together, in order, from those of an item's vector."""
        found = []
        if self.means is not None:
            of_age = [] if self.means.ages is None else [self.means.ages.table.shape[1]]
            found += [*of_item, *of_age] * self.means.num_means
        if self.causal is not None:
            found.append(self.causal.width)
        return found

    def look_up(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor | Asked:
        """Times as ages.

        Args:
            raw: `timestamp` int64 [B] of the queries and `<name>_timestamp` int64 [S, L] of items.
                Of rows with a history each, S = B; of sequences also `SEQUENCE_ROWS` [S], and what
                each row knows of, `<name>_item#end` int64 [B].

        Returns:
            Of rows the seconds from each item to the query, int64 [B, L], 0 where there is none.
        """
        time, asked_at = raw[f"{self.feature_name}_timestamp"], raw[TIMESTAMP]
        rows = raw.get(SEQUENCE_ROWS)
        if rows is None:
            return _age(time, asked_at)
        last = tf.gather(asked_at, tf.cumsum(rows) - 1)
        sequence = tf.repeat(tf.range(tf.size(rows, tf.int64)), rows)
        return Asked(
            item_age=_age(time, last),
            sequence=sequence,
            end=raw[f"{self.feature_name}_item{END_SUFFIX}"],
            age=tf.gather(last, sequence) - asked_at,
        )

    def call(
        self,
        vectors: tf.Tensor | Rows,
        mask: tf.Tensor,
        looked_up: tf.Tensor | Asked,
        training: bool = False,
    ) -> tf.Tensor:
        """Encodes what each query knows of.

        Args:
            vectors: float32 [S, L, dim] of the items, oldest first; or which rows of a table they
                are.
            mask: bool [S, L], false for padding, which may stand at either end.
            looked_up: of `look_up`.
            training: whether to hide items.

        Returns:
            float32 [B, dim], a row for each query; zeros where it knows of no item.
        """
        parts = []
        if self.means is not None:
            parts.append(self._pooled(vectors, mask, looked_up, training))
        if self.causal is not None:
            if isinstance(vectors, Rows):
                vectors = vectors.gathered()
            if isinstance(looked_up, Asked):
                asked = looked_up
            else:  # one query for each history, which knows of all of it
                # Requests without any history have no place at all for one: L = 0.
                vectors = tf.pad(vectors, [[0, 0], [1, 0], [0, 0]])
                mask, looked_up = (tf.pad(each, [[0, 0], [1, 0]]) for each in (mask, looked_up))
                end = tf.math.count_nonzero(mask, 1)
                own = tf.range(tf.size(end, tf.int64))
                asked = Asked(looked_up, sequence=own, end=end, age=tf.zeros_like(end))
            flat = tf.reshape(vectors, [-1, vectors.shape[-1]])
            kept = tf.reshape(drop_rows(flat, self._dropout, training), tf.shape(vectors))
            kept = tf.ensure_shape(kept, vectors.shape)
            parts.append(self.causal(kept, mask, *asked, training=training))
        return tf.concat(parts, -1)

    def _pooled(
        self,
        vectors: tf.Tensor | Rows,
        mask: tf.Tensor,
        looked_up: tf.Tensor | Asked,
        training: bool,
    ) -> tf.Tensor:
        """Means for each query, of a history cut to what it knows of."""
        assert self.means is not None
        if not isinstance(looked_up, Asked):
            return self.means(vectors, mask, looked_up, training=training)
        asked = looked_up
        place = tf.cumsum(tf.cast(mask, tf.int64), axis=1)
        mask, place, age = (
            tf.gather(each, asked.sequence) for each in (mask, place, asked.item_age)
        )
        if isinstance(vectors, Rows):
            vectors = Rows(table=vectors.table, index=tf.gather(vectors.index, asked.sequence))
        else:
            vectors = tf.gather(vectors, asked.sequence)
        known = mask & (place <= asked.end[:, tf.newaxis])
        since = tf.where(known, tf.maximum(age - asked.age[:, tf.newaxis], 0), 0)
        return self.means(vectors, known, since, training=training)


def _age(time: tf.Tensor, asked_at: tf.Tensor) -> tf.Tensor:
    age = tf.maximum(asked_at[:, tf.newaxis] - time, 0)
    return tf.where(time > 0, age, tf.zeros_like(age))
