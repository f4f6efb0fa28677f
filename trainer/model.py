"""The two-tower model."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from configs.kinds import Entity, Sequence
from configs.schema import Config, LossKind, Precision
from preprocessing.features import FeatureSpec
from trainer.catalog import Assets, Catalog
from trainer.dropout import drop_rows
from trainer.encoders import EmbeddingTable, LookedUp, make_encoder
from trainer.gather import Rows, gather_rows
from trainer.history_encoder import HistoryEncoder
from trainer.items import ItemEncoder
from trainer.losses import make_loss, sum_in_chunks
from trainer.negatives import Negatives, rows_between
from trainer.records import PAD_ITEM
from trainer.replicas import map_shared, own_rows
from trainer.temperature import Temperature
from trainer.towers import Tower

_ITEMS_AT_ONCE = 16_384


class TwoTower(tfrs.Model):
    """User tower, item tower, and the loss between them.

    Histories pool the item encoder's static vectors, so what is learnt of an item as a candidate
    is known of it as a history, and the other way round.
    """

    def __init__(
        self,
        config: Config,
        spec: FeatureSpec,
        catalog: Catalog,
        assets: Assets,
        *,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        """Builds every weight.

        Args:
            config: sizes, temperature and loss.
            spec: of the features.
            catalog: of the dataset.
            assets: its vocabularies and statistics.
            precision: that the towers compute in. What was trained in another is served in float32.
        """
        super().__init__()
        tf.keras.utils.set_random_seed(config.train.seed)
        seed = config.train.seed
        self.config = config
        self.spec = spec
        self.num_known = catalog.num_known
        self.items = ItemEncoder(
            spec,
            catalog,
            assets,
            id_dropout=config.train.item_id_dropout,
            feature_dropout=config.train.feature_dropout,
            seed=seed,
        )
        self.user_encoders = [
            make_encoder(name, spec, assets, seed=seed + 1_000 + index)
            for index, (name, feature) in enumerate(spec.of(Entity.USER, Entity.CONTEXT))
            if not isinstance(feature, Sequence)
        ]
        self.history = HistoryEncoder(
            *spec.sequence, dropout=config.train.history_dropout, seed=seed + 2_000
        )
        self.user_tower, self.item_tower = (
            Tower(
                config.model,
                name=name,
                precision=precision,
                jit_compile=config.train.jit_compile,
            )
            for name in ("user_tower", "item_tower")
        )
        # XLA compiles for one number of rows, so the item tower is given as many as there can be.
        self._padded_candidates = (
            _most_candidates(config, spec, catalog) if config.train.jit_compile else None
        )
        self.temperature = Temperature(config.model)
        self.negatives = Negatives(
            config.loss,
            dim=config.model.embedding_dim,
            num_items=self.num_known,
            upload_day=catalog.upload_day,
            seed=seed,
        )
        self.loss_function = make_loss(config.loss)
        self._build()

    def _build(self) -> None:
        """Runs both towers once, on nothing, so that every weight exists."""
        one = tf.zeros([1], tf.int64)
        self.embed_items(one, one)
        raw = {}
        for column in self.spec.request_columns:
            width = column.length or column.max_length
            raw[column.name] = tf.zeros([1, width] if width else [1], column.dtype.value)
        self.embed_users(self.look_up(raw), tf.fill([1, self.spec.sequence[1].max_length], 0))

    def look_up(self, raw: Mapping[str, tf.Tensor]) -> dict[str, LookedUp]:
        """Raw request columns [N, ...] to what the user encoders embed, by feature."""
        looked_up = {e.feature_name: e.look_up(raw) for e in self.user_encoders}
        return {**looked_up, self.history.feature_name: self.history.look_up(raw)}

    def _user_vectors(
        self,
        looked_up: Mapping[str, tf.Tensor],
        history: tf.Tensor | Rows,
        mask: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        dropout = self.config.train.feature_dropout
        parts = [
            drop_rows(e(looked_up[e.feature_name]), dropout.get(e.feature_name, 0.0), training)
            for e in self.user_encoders
        ]
        asked = looked_up[self.history.feature_name]
        parts.append(self.history(history, mask, asked, training=training))
        return self.user_tower(tf.concat(parts, -1), training=training)

    def embed_users(self, looked_up: Mapping[str, tf.Tensor], history_item: tf.Tensor) -> tf.Tensor:
        """Unit vectors of users.

        Args:
            looked_up: what `look_up` gave for N requests.
            history_item: int64 [N, L] catalog ids, oldest first; `PAD_ITEM` where there is none.

        Returns:
            float32 [N, embedding_dim].
        """
        history = self.items(tf.maximum(tf.cast(history_item, tf.int64), 0))
        return self._user_vectors(looked_up, history, history_item != PAD_ITEM, training=False)

    @tf.function(reduce_retracing=True)  # once a model: each evaluation asks some hundred queries
    def embed_raw_users(self, raw: Mapping[str, tf.Tensor], history_item: tf.Tensor) -> tf.Tensor:
        """Unit vectors of users by the raw columns of N requests: see `look_up`, `embed_users`."""
        return self.embed_users(self.look_up(raw), history_item)

    def embed_items(self, item: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
        """Unit vectors of items as of the start of a day: int64 [N] twice to float32 [N, dim]."""
        return self.item_tower(tf.concat([self.items(item), self.items.daily(item, day)], -1))

    def embed_raw_items(
        self, embedding_row: tf.Tensor, raw: Mapping[str, tf.Tensor], day: tf.Tensor
    ) -> tf.Tensor:
        """Unit vectors of items by their raw columns, in the catalog or not.

        Args:
            embedding_row: int64 [N], `ItemEncoder.embedding_row`; 0 for strangers.
            raw: `FeatureSpec.item_request_columns` [N, ...], counts as of the start of `day`.
            day: int64 [N], days since 1970.

        Returns:
            float32 [N, embedding_dim].
        """
        static = self.items.embed(embedding_row, self.items.look_up(raw))
        return self.item_tower(tf.concat([static, self.items.daily_of(raw, day)], -1))

    def embed_catalog(self, num_items: int, *, day: int) -> np.ndarray:
        """Unit vectors of items 0..num_items - 1 as of the start of a day: float32 [n, dim]."""
        blocks = []
        for start in range(0, num_items, _ITEMS_AT_ONCE):
            ids = tf.range(start, min(start + _ITEMS_AT_ONCE, num_items), dtype=tf.int64)
            days = tf.fill(tf.shape(ids), tf.constant(day, tf.int64))
            blocks.append(self._embed_block(ids, days).numpy())
        return np.concatenate(blocks)

    @tf.function(reduce_retracing=True)  # once a model: a training run embeds its items often
    def _embed_block(self, item: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
        return self.embed_items(item, day)

    def compute_loss(
        self,
        inputs: Mapping[str, tf.Tensor],
        training: bool = False,
        use_memory: tf.Tensor | bool = False,
    ) -> tf.Tensor:
        """Weighted mean of the loss over a batch of `trainer.input.train_batches`.

        The item tower runs once for each distinct candidate of the batch.

        Args:
            inputs: the batch.
            training: whether units and items drop out.
            use_memory: bool [], whether items of earlier batches are negatives too.

        Returns:
            float32 []; within a strategy's replicas the part of this one's rows, of a sum over all.
        """
        # Every replica embeds all of the batch's items: its rows have seen most of them.
        static = self.items(tf.maximum(inputs["distinct_item"], 0), training=training)
        names = [*(e.feature_name for e in self.user_encoders), self.history.feature_name]
        looked_up = tf.nest.map_structure(own_rows, {name: inputs[name] for name in names})
        users = self._user_vectors(
            looked_up,
            Rows(table=static, index=own_rows(inputs["history_index"])),
            own_rows(inputs["history_mask"]),
            training,
        )
        daily = self.items.daily(
            inputs["candidate_item"], inputs["candidate_day"], training=training
        )
        candidates = map_shared(
            lambda each: self.item_tower(each, training=training),
            tf.concat([gather_rows(static, inputs["candidate_index"]), daily], -1),
            padded_to=self._padded_candidates if training else None,
        )
        weight, temperature = inputs["weight"], self.temperature()
        is_alone = tf.distribute.get_replica_context().num_replicas_in_sync == 1
        if self.config.loss.kind is LossKind.FULL_SOFTMAX and is_alone:
            total = sum_in_chunks(
                lambda users, candidates, temperature, first, last: self._loss_of_rows(
                    users, candidates, rows_between(inputs, first, last), temperature, False
                ),
                users, candidates, temperature, weight,
            )  # fmt: skip
        else:
            losses = self._loss_of_rows(users, candidates, inputs, temperature, use_memory)
            total = tf.reduce_sum(losses * own_rows(weight))
        return tf.math.divide_no_nan(total, tf.reduce_sum(weight))

    def _loss_of_rows(
        self,
        users: tf.Tensor,
        candidates: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
        temperature: tf.Tensor,
        use_memory: tf.Tensor | bool,
    ) -> tf.Tensor:
        """The loss of each row, float32 [B]."""
        scores = self.negatives.score(
            users, candidates, inputs, temperature=temperature, use_memory=use_memory
        )
        return sum(self.loss_function(each) for each in scores) / len(scores)

    @property
    def embedding_tables(self) -> list[tf.Variable]:
        """Variables that are looked up by row."""
        tables = [m.table for m in self.submodules if isinstance(m, EmbeddingTable)]
        return sorted(tables, key=lambda table: table.name)

    @property
    def dense_weights(self) -> list[tf.Variable]:
        """All other trainable variables."""
        tables = {table.ref() for table in self.embedding_tables}
        return [v for v in self.trainable_variables if v.ref() not in tables]


def _most_candidates(config: Config, spec: FeatureSpec, catalog: Catalog) -> int:
    """As many candidates as a batch can have."""
    loss, rows = config.loss, config.train.batch_size
    if loss.kind is LossKind.FULL_SOFTMAX:
        drawn = catalog.num_known
    else:
        drawn = loss.uniform_negatives + rows * loss.impressed_negatives
    # Without features by day an item is one candidate, whatever the day.
    return rows + drawn if spec.has_daily_items else min(rows + drawn, catalog.size)
