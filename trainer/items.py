"""The catalog inside the model: from catalog ids to item vectors, static and by day."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from configs.kinds import Entity, Freshness, Text, Vocabulary
from preprocessing.features import FeatureSpec
from trainer.catalog import Assets, Catalog, DailyCounts
from trainer.dropout import drop_rows
from trainer.encoders import EmbeddingTable, Encoder, Raw, make_encoder

_ITEM_ID = "item_id"
EMBEDDING_ROW = "embedding_row"


class ItemEncoder(tf.keras.layers.Layer):
    """Embeds items by catalog id. Their raw columns are looked up once, when it is made.

    Static features (freshness `request`) make the vector that histories pool and that the item
    tower starts from; daily features, as of the start of a day, are appended for the tower alone.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        catalog: Catalog,
        assets: Assets,
        *,
        id_dropout: float,
        feature_dropout: Mapping[str, float],
        seed: int,
    ) -> None:
        """Looks up the whole catalog's static columns; keeps the daily counts.

        Args:
            spec: of the features.
            catalog: whose items are embedded.
            assets: vocabularies and statistics.
            id_dropout: share of items that a training step takes for new ones: they get row 0 of
                the id table, which every item outside of the vocabulary shares. Without it that row
                is only ever a negative, and no new item is recommended.
            feature_dropout: share of items that a training step takes without a feature, by name.
            seed: of initial embedding rows.

        Source: Volkovs et al., DropoutNet (2017), on the item's side.
        """
        super().__init__(name="items")
        self.id_dropout = id_dropout
        self._dropout = dict(feature_dropout)
        item_id = spec.features[_ITEM_ID]
        assert isinstance(item_id, Vocabulary)
        self.item_id = EmbeddingTable(
            catalog.vocabulary_size + 1, item_id.dim, name=_ITEM_ID, seed=seed
        )
        ids = np.arange(catalog.size)
        self._embedding_row: tf.Tensor | tf.Variable = tf.constant(
            np.where(ids <= catalog.vocabulary_size, ids, 0)
        )
        self.static_encoders: list[Encoder] = []
        self.daily_encoders: list[Encoder] = []
        self._static: dict[str, tf.Tensor | tf.Variable] = {}
        self._frozen = _Untracked()
        for index, (name, feature) in enumerate(spec.of(Entity.ITEM)):
            if name == _ITEM_ID:
                continue
            encoder = make_encoder(name, spec, assets, seed=seed + 1 + index)
            if feature.freshness is Freshness.DAY:
                self.daily_encoders.append(encoder)
                continue
            self.static_encoders.append(encoder)
            raw = {c: _tensor(catalog.columns[c]) for c in encoder.columns}
            if isinstance(feature, Text):
                self._frozen.tables[name] = tf.Variable(
                    encoder.look_up(raw), trainable=False, name=f"{name}_vectors"
                )
            else:
                self._static[name] = encoder.look_up(raw)
        self._daily_raw = {
            column: _tensor(catalog.columns[column])
            for encoder in self.daily_encoders
            for column in encoder.columns
            if column in catalog.columns
        }
        self._statistics = [c.name for c in spec.statistic_columns]
        self._daily_key = tf.constant(catalog.daily.key)
        self._daily_counts = tf.constant(catalog.daily.counts)

    def call(self, item: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Static vectors: int64 [N] catalog ids to float32 [N, static_dim]."""
        row = self.embedding_row(item)
        if training and self.id_dropout:
            row *= tf.cast(tf.random.uniform(tf.shape(row)) >= self.id_dropout, row.dtype)
        tables = {**self._static, **self._frozen.tables}
        looked_up = {name: tf.gather(column, item) for name, column in tables.items()}
        return self.embed(row, looked_up, training=training)

    def daily(self, item: tf.Tensor, day: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Vectors as of the start of a day: int64 [N], int64 [N] to float32 [N, daily_dim]."""
        raw = {name: tf.gather(column, item) for name, column in self._daily_raw.items()}
        if self._statistics:
            counts = self._counts(item, day)
            raw |= {name: counts[:, i] for i, name in enumerate(self._statistics)}
        return self.daily_of(raw, day, training=training)

    def daily_of(self, raw: Raw, day: tf.Tensor, training: bool = False) -> tf.Tensor:
        """As `daily`, from raw columns [N, ...] that need not be in the catalog."""
        raw = {**raw, "day": day}
        parts = [self._dropped(e, e.look_up(raw), training) for e in self.daily_encoders]
        return tf.concat([tf.zeros([tf.shape(day)[0], 0]), *parts], -1)

    def look_up(self, raw: Raw) -> dict[str, tf.Tensor]:
        """Raw static columns [N, ...] to what `embed` takes, by feature."""
        return {e.feature_name: e.look_up(raw) for e in self.static_encoders}

    def embed(
        self,
        embedding_row: tf.Tensor,
        looked_up: Mapping[str, tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """As `call`, from rows int64 [N] of the id table (0: none of its own) and `look_up`."""
        parts = [self.item_id(embedding_row)]
        for e in self.static_encoders:
            parts.append(self._dropped(e, looked_up[e.feature_name], training))
        return tf.concat(parts, -1)

    def _dropped(self, encoder: Encoder, looked_up: tf.Tensor, training: bool) -> tf.Tensor:
        """A feature's vectors, those of some items zeroed in training."""
        share = self._dropout.get(encoder.feature_name, 0.0)
        return drop_rows(encoder(looked_up), share, training)

    def embedding_row(self, item: tf.Tensor) -> tf.Tensor:
        """Rows of the id table: int64 [N] catalog ids to int64 [N]."""
        return tf.gather(self._embedding_row, item)

    @property
    def looked_up(self) -> dict[str, tf.Tensor | tf.Variable]:
        """What histories know of each item by catalog id: the id's row, and `look_up` of all."""
        return {EMBEDDING_ROW: self._embedding_row, **self._static, **self._frozen.tables}

    def hold(self, looked_up: Mapping[str, tf.Variable]) -> None:
        """Takes variables in the place of `looked_up`, so that rows can be added to them."""
        self._embedding_row = looked_up[EMBEDDING_ROW]
        self._static = {name: looked_up[name] for name in self._static}
        self._frozen.tables = {name: looked_up[name] for name in self._frozen.tables}

    def _counts(self, item: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
        """`DailyCounts.at` in the graph."""
        if self._daily_key.shape[0] == 0:
            return tf.zeros([tf.shape(item)[0], len(self._statistics)], tf.int64)
        key = DailyCounts.key_of(item, day)
        row = tf.searchsorted(self._daily_key, key, side="right", out_type=tf.int64) - 1
        at = tf.maximum(row, 0)
        known = (row >= 0) & (tf.gather(self._daily_key, at) >= DailyCounts.key_of(item, 0))
        return tf.gather(self._daily_counts, at) * tf.cast(known, tf.int64)[:, tf.newaxis]


class _Untracked:
    """Holds variables that come with the dataset, hidden from Keras and from checkpoints."""

    def __init__(self) -> None:
        self.tables: dict[str, tf.Variable] = {}


def _tensor(column: np.ndarray) -> tf.Tensor:
    return tf.constant(column.tolist() if column.dtype == object else column)
