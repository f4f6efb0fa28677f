"""The graph that is exported: user tower, catalog and index behind named signatures."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from configs.schema import Export
from preprocessing.features import DType, FeatureSpec, default_of
from trainer.catalog import Catalog
from trainer.input import PAD_ITEM
from trainer.model import TwoTower

_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}

Request = Mapping[str, tf.Tensor]
Answer = dict[str, tf.Tensor]


def input_signature(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Every input of `serving_default` by name: the batch dimension first, lists of any length."""
    return {
        c.name: tf.TensorSpec(
            [None, c.length] if c.length else [None, None] if c.is_ragged else [None],
            _TF_DTYPE[c.dtype],
            name=c.name,
        )
        for c in spec.request_columns
    }


class ExportedModel(tf.Module):
    """User tower and index in one graph.

    Every list has the width min(k, catalog); its items are unique and, if the config says so, none
    is of the request's own history; scores are dot product over temperature, descending. Where
    fewer items are eligible the rest is '' with the lowest float.
    """

    def __init__(
        self,
        model: TwoTower,
        searcher: Any,
        catalog: Catalog,
        *,
        config: Export,
        temperature: float,
    ) -> None:
        """Takes a trained model and an index over the vectors of items 1, 2, … of the catalog."""
        super().__init__(name="streamrec")
        self._model = _Untracked(model)
        self.spec = model.spec
        self.searcher = searcher
        self.temperature = temperature
        self.exclude_history = config.exclude_history
        self.num_items = catalog.size - 1
        self.width = min(config.k, self.num_items)
        # Only what the user's side needs is saved: not the item tower, not the layers as objects.
        self.weights = [*model.trainable_variables, *model.items.frozen_tables]
        self.lookup_tables = [
            e.lookup_table for e in model.user_encoders if hasattr(e, "lookup_table")
        ]
        ids = tf.constant(catalog.video_id[1:].tolist())
        # A variable: a constant of many strings is slow to load with the graph.
        self.video_id = tf.Variable(tf.concat([ids, [""]], 0), trainable=False)  # the last: none
        self.item_table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                ids, tf.range(1, self.num_items + 1, dtype=tf.int64)
            ),
            default_value=0,
        )

    def history_ids(self, request: Request) -> tf.Tensor:
        """Catalog ids of the request's history: int64 [B, L], 0 unknown, `PAD_ITEM` padding."""
        video_id = request[f"{self.spec.sequence[0]}_item_id"]
        return tf.where(
            video_id == "", tf.constant(PAD_ITEM, tf.int64), self.item_table.lookup(video_id)
        )

    def user_vectors(self, request: Request, history: tf.Tensor) -> tf.Tensor:
        """Unit vectors: float32 [B, dim]."""
        model = self._model.value
        return model.embed_users(model.look_up(request), history)

    def recommend(self, request: Request) -> Answer:
        """The best items for each request: `item_id` string and `score` float32, [B, width]."""
        history = self.history_ids(request)
        query = self.user_vectors(request, history)
        fetch = self.width
        if self.exclude_history:
            fetch = min(self.num_items, self.width + self.spec.sequence[1].max_length)
        rows, scores = self.searcher.search(query, fetch)
        rows = tf.cast(rows, tf.int64)
        keep = tf.math.is_finite(scores) & ~_repeats(rows)
        if self.exclude_history:
            newest = history[:, -self.spec.sequence[1].max_length :]
            keep &= ~tf.reduce_any((rows + 1)[:, :, tf.newaxis] == newest[:, tf.newaxis, :], -1)
        lowest = tf.float32.min
        best, at = tf.math.top_k(
            tf.where(keep, scores / self.temperature, lowest), tf.minimum(self.width, fetch)
        )
        chosen = tf.where(best > lowest, tf.gather(rows, at, batch_dims=1), self.num_items)
        return {"item_id": tf.gather(self.video_id, chosen), "score": best}

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by signature name."""
        inputs = input_signature(self.spec)

        @tf.function(input_signature=[inputs])
        def recommend(request: Request) -> Answer:
            return self.recommend(request)

        @tf.function(input_signature=[inputs])
        def embed_user(request: Request) -> Answer:
            return {"embedding": self.user_vectors(request, self.history_ids(request))}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def recommend_examples(examples: tf.Tensor) -> Answer:
            return self.recommend(parse_examples(examples, self.spec))

        return {
            "serving_default": _flat(recommend, inputs),
            "recommend_examples": recommend_examples.get_concrete_function(),
            "embed_user": _flat(embed_user, inputs),
        }


def parse_examples(examples: tf.Tensor, spec: FeatureSpec) -> dict[str, tf.Tensor]:
    """Requests as tf.train.Examples: string [B] to inputs by name; what is absent is missing."""
    features: dict[str, Any] = {}
    for column in spec.request_columns:
        dtype = _TF_DTYPE[column.dtype]
        if column.is_ragged:
            features[column.name] = tf.io.RaggedFeature(dtype)
        elif column.length:
            zeros = tf.zeros([column.length], dtype)
            features[column.name] = tf.io.FixedLenFeature([column.length], dtype, zeros)
        else:
            features[column.name] = tf.io.FixedLenFeature([], dtype, default_of(column))
    parsed = tf.io.parse_example(examples, features)
    return {
        c.name: parsed[c.name].to_tensor() if c.is_ragged else parsed[c.name]
        for c in spec.request_columns
    }


def _repeats(rows: tf.Tensor) -> tf.Tensor:
    """Whether a row stands earlier in its list already: int64 [B, width] to bool [B, width]."""
    order = tf.argsort(rows, stable=True)
    ascending = tf.gather(rows, order, batch_dims=1)
    again = tf.concat(
        [tf.zeros_like(rows[:, :1], tf.bool), ascending[:, 1:] == ascending[:, :-1]], 1
    )
    return tf.gather(again, tf.argsort(order), batch_dims=1)


def _flat(function: Any, inputs: Mapping[str, tf.TensorSpec]) -> Any:
    """A concrete function that takes each input by its own name."""

    @tf.function
    def named(**request: tf.Tensor) -> Answer:
        return function(request)

    return named.get_concrete_function(**inputs)


class _Untracked:
    """Holds a Keras model without making its layers part of the SavedModel."""

    def __init__(self, value: TwoTower) -> None:
        self.value = value
