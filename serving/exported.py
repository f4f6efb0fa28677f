"""The graph that is exported: both towers, catalog and index behind named signatures."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from configs.schema import Export
from preprocessing.columns import SECONDS_PER_DAY, TIMESTAMP
from serving.index import Searcher
from serving.item_store import ItemStore
from serving.lists import ListMaker
from serving.signatures import (
    DATASET,
    EXCLUDE_ITEM_ID,
    ITEM_ID,
    Answer,
    Request,
    fingerprints_of,
    inputs_of,
    named,
    parse_examples,
)
from trainer.items import EMBEDDING_ROW
from trainer.model import TwoTower
from trainer.records import PAD_ITEM


class ExportedModel(tf.Module):
    """Both towers, the items and an index over them in one graph.

    Lists keep the contract of `serving.lists.ListMaker`, with ids as strings ('' for none). If the
    config says so, none holds an item of the request's own history.
    """

    def __init__(
        self,
        model: TwoTower,
        searcher: Searcher,
        store: ItemStore,
        *,
        looked_up: Mapping[str, tf.Variable],
        fingerprints: Mapping[str, str],
        config: Export,
    ) -> None:
        """Takes a trained model and an index over the vectors of the store's items.

        Args:
            model: whose items hold `looked_up`.
            searcher: of the items' vectors; a `tf.Module`, so that it is saved with the graph.
            store: of the catalog.
            looked_up: `serving.item_store.open_items` of the model.
            fingerprints: of the dataset that the model was trained on, by name.
            config: of lists and of the weight of popularity.
        """
        super().__init__(name="streamrec")
        self._model = _Untracked(model)
        self.spec = model.spec
        self.id_column = model.spec.features[ITEM_ID].column
        self.config = config
        self.store = store
        self.looked_up = dict(looked_up)
        self._fingerprints = fingerprints
        self.searcher = searcher
        temperature = float(model.temperature())
        self.lists = ListMaker(searcher, store, k=config.k, temperature=temperature)
        # What the towers need is saved, not the layers as objects.
        held = {v.ref() for v in self.looked_up.values()}
        self.weights = [v for v in model.variables if v.ref() not in held]
        self.lookup_tables = [
            e.lookup_table
            for e in (
                *model.user_encoders,
                *model.items.static_encoders,
                *model.items.daily_encoders,
            )
            if hasattr(e, "lookup_table")
        ]
        self.fresh_items = tf.function(
            self._fresh_items, input_signature=[inputs_of(self.spec.item_request_columns)]
        )

    def recommend(self, request: Request, exclude_item_id: tf.Tensor | None = None) -> Answer:
        """The best items for each request: `item_id` string and `score` float32, [B, width].

        Where little is known of a user, popularity speaks: its weight α halves with every
        `popularity_half_life` known items of the history.
        """
        history = self._history(request)
        known = tf.reduce_sum(tf.cast(history > 0, tf.float32), axis=1)
        weight = self.config.popularity_weight * tf.pow(
            0.5, known / self.config.popularity_half_life
        )
        excluded = [history] if self.config.exclude_history else [history[:, :0]]
        if exclude_item_id is not None:
            excluded.append(self.store.look_up(exclude_item_id))
        return self._answer(
            self.lists(self._user_vectors(request, history), tf.concat(excluded, 1), weight)
        )

    def similar(self, item_id: tf.Tensor) -> Answer:
        """The items nearest to each of string [B], by cosine, without the item itself.

        Raises:
            InvalidArgumentError: an item is not in the catalog, or was removed from it.
        """
        ids = self.store.look_up(item_id)
        listed = tf.gather(self.store.listed, ids)
        found = tf.debugging.Assert(
            tf.reduce_all(listed),
            ["item_id: found items that the catalog does not hold:", item_id[~listed]],
            summarize=5,
        )
        with tf.control_dependencies([found] if found is not None else []):
            row = tf.maximum(ids - 1, 0)
        num_indexed = self.store.num_indexed
        # Read whole, which costs nothing: to gather from the variable itself would mark it as one
        # that rows are written to, and each later read of it, by any request, would copy it.
        vectors = self.searcher.vectors.read_value()
        indexed = tf.gather(vectors, tf.minimum(row, num_indexed - 1))
        # One row of zeros before the fresh ones, which may be none.
        fresh = tf.pad(self.store.fresh_vectors, [[1, 0], [0, 0]])
        fresh = tf.gather(fresh, tf.maximum(row - num_indexed + 1, 0))
        query = tf.where((row < num_indexed)[:, tf.newaxis], indexed, fresh)
        return self._answer(self.lists(query, ids[:, tf.newaxis], None))

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by signature name."""
        request = inputs_of(self.spec.request_columns)
        item = inputs_of(self.spec.item_request_columns)
        excluded = tf.TensorSpec([None, None], tf.string, name=EXCLUDE_ITEM_ID)
        examples = {"examples": tf.TensorSpec([None], tf.string, name="examples")}
        item_id = {ITEM_ID: tf.TensorSpec([None], tf.string, name=ITEM_ID)}

        def recommend_excluding(inputs: Request) -> Answer:
            return self.recommend({name: inputs[name] for name in request}, inputs[EXCLUDE_ITEM_ID])

        def recommend_examples(inputs: Request) -> Answer:
            return self.recommend(parse_examples(inputs["examples"], self.spec))

        def embed_user(inputs: Request) -> Answer:
            return {"embedding": self._user_vectors(inputs, self._history(inputs))}

        return {
            "serving_default": named(self.recommend, request),
            "recommend_examples": named(recommend_examples, examples),
            "recommend_excluding": named(
                recommend_excluding, request | {EXCLUDE_ITEM_ID: excluded}
            ),
            "embed_user": named(embed_user, request),
            "embed_item": named(lambda raw: {"embedding": self._item_vectors(raw)}, item),
            "similar_items": named(lambda inputs: self.similar(inputs[ITEM_ID]), item_id),
            DATASET: fingerprints_of(self._fingerprints),
        }

    def _answer(self, ranked: tuple[tf.Tensor, tf.Tensor]) -> Answer:
        ids, scores = ranked
        return {ITEM_ID: tf.gather(self.store.video_id, ids), "score": scores}

    def _history(self, request: Request) -> tf.Tensor:
        """Catalog ids of the request's history: int64 [B, L], 0 unknown, `PAD_ITEM` padding."""
        video_id = request[f"{self.spec.sequence[0]}_item_id"]
        return tf.where(
            video_id == "", tf.constant(PAD_ITEM, tf.int64), self.store.look_up(video_id)
        )

    def _user_vectors(self, request: Request, history: tf.Tensor) -> tf.Tensor:
        """Unit vectors of users, by the newest items of their history: float32 [B, dim]."""
        model, (name, feature) = self._model.value, self.spec.sequence
        times = request[f"{name}_timestamp"]
        history, times = tf.cond(
            tf.shape(history)[1] > feature.max_length,
            lambda: _newest(history, times, feature.max_length),
            lambda: (history, times),
        )
        history.set_shape([None, None])  # which the branches of the condition lose
        request = {**request, f"{name}_timestamp": tf.ensure_shape(times, [None, None])}
        return model.embed_users(model.look_up(request), history)

    def _item_vectors(self, raw: Request) -> tf.Tensor:
        """Unit vectors of items by raw columns: float32 [B, dim]."""
        model = self._model.value
        row = model.items.embedding_row(self.store.look_up(raw[self.id_column]))
        return model.embed_raw_items(row, raw, raw[TIMESTAMP] // SECONDS_PER_DAY)

    def _fresh_items(self, raw: Request) -> Answer:
        """What `serving.update` adds to the variables for items that the catalog does not hold.

        Returns:
            `embedding` float32 [N, dim], and the rows of `looked_up` by name.
        """
        model = self._model.value
        stranger = tf.zeros_like(raw[TIMESTAMP])
        vectors = model.embed_raw_items(stranger, raw, raw[TIMESTAMP] // SECONDS_PER_DAY)
        looked_up = {EMBEDDING_ROW: stranger, **model.items.look_up(raw)}
        return {"embedding": vectors, **looked_up}


def _newest(history: tf.Tensor, times: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The last `count` real entries of each row, whichever end the padding stands at."""
    pads_first = tf.argsort(tf.cast(history != PAD_ITEM, tf.int32), stable=True)[:, -count:]
    return (
        tf.gather(history, pads_first, batch_dims=1),
        tf.gather(times, pads_first, batch_dims=1),
    )


class _Untracked:
    """Holds a Keras model without making its layers part of the SavedModel."""

    def __init__(self, value: TwoTower) -> None:
        self.value = value
