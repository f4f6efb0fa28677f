"""From user vectors to lists that keep the contract, whatever the index finds."""

from collections.abc import Callable

import tensorflow as tf

from serving.index import Searcher
from serving.item_store import ItemStore

# What the index is asked for beyond a list's width, to make up for excluded items, goes up to
# this; a request that excludes more and comes out short is searched exactly.
_SLACK = 512
_POSITIONS = 1 << 20  # candidates and exclusions of a row, whose number shares 63 bits with an id
LOWEST = tf.float32.min

Ranked = tuple[tf.Tensor, tf.Tensor]


class ListMaker(tf.Module):
    """The best items for each query, as a list that keeps the contract.

    The contract: width min(k, catalog); items unique, listed, and none excluded; scores finite and
    descending; where fewer items are eligible than the width, the rest of the row is id 0 with the
    lowest float. A row that the index leaves short of its width is searched again, exactly.
    """

    def __init__(self, index: Searcher, store: ItemStore, *, k: int, temperature: float) -> None:
        """Takes what searches the store's items 1..n."""
        super().__init__(name="lists")
        self.index, self.store = index, store
        self.k, self.temperature = k, temperature

    @property
    def width(self) -> int | tf.Tensor:
        """Of every list: k, or all items of the catalog where there are fewer."""
        if self.store.num_indexed >= self.k:
            return self.k
        return tf.minimum(self.k, self.store.num_indexed + self._num_fresh())

    def __call__(
        self, query: tf.Tensor, excluded: tf.Tensor, popularity_weight: tf.Tensor | None
    ) -> Ranked:
        """Makes lists.

        Args:
            query: float32 [B, dim], unit vectors.
            excluded: int64 [B, X] catalog ids that the row must not hold, repeats allowed; 0 and
                below exclude nothing.
            popularity_weight: float32 [B], α of score = (1 - α)·dot/τ + α·log popularity, over the
                union of the nearest and the most popular items; None: dot alone, τ = 1.

        Returns:
            Catalog ids int64 [B, width] and scores float32 [B, width].
        """
        best = self._best(query, self._nearest(query, excluded), excluded, popularity_weight)
        short = tf.reduce_any(best[0] == 0, axis=1)
        return tf.cond(
            tf.reduce_any(short),
            lambda: self._complete(best, short, query, excluded, popularity_weight),
            lambda: best,
        )

    def _num_fresh(self) -> tf.Tensor:
        return tf.shape(self.store.fresh_vectors)[0]

    def _nearest(self, query: tf.Tensor, excluded: tf.Tensor) -> Ranked:
        """Nearest items of the index and of the fresh ones: ids and dot products [B, C]."""
        fetch = tf.minimum(
            self.store.num_indexed, self.width + tf.minimum(tf.shape(excluded)[1], _SLACK)
        )
        rows, dots = self.index.search(query, fetch)
        fresh = tf.matmul(query, self.store.fresh_vectors, transpose_b=True)
        # Of the fresh ones only those can be among the nearest that are as near as the last of the
        # index's: a few, where to order all of them would take as long as to score them.
        last = tf.where(tf.math.is_finite(dots[:, -1:]), dots[:, -1:], LOWEST)
        last = tf.where(fetch < self.store.num_indexed, last, LOWEST)
        as_near = tf.reduce_sum(tf.cast(fresh >= last, tf.int32), axis=1)
        most = tf.maximum(0, tf.reduce_max(as_near))  # 0 for a batch of none
        fresh_dots, fresh_rows = tf.math.top_k(fresh, tf.minimum(fetch, most))
        ids = tf.concat([rows + 1, fresh_rows + self.store.num_indexed + 1], 1)
        return tf.cast(ids, tf.int64), tf.concat([dots, fresh_dots], 1)

    def _best(
        self,
        query: tf.Tensor,
        candidates: Ranked,
        excluded: tf.Tensor,
        popularity_weight: tf.Tensor | None,
    ) -> Ranked:
        """The `width` best of candidates (and popular items), without repeats and exclusions."""
        ids, dots = candidates
        if popularity_weight is not None:
            popular = tf.matmul(query, self.store.popular_vectors, transpose_b=True)
            ids = tf.concat([ids, tf.broadcast_to(self.store.popular_id, tf.shape(popular))], 1)
            dots = tf.concat([dots, popular], 1)
        ids = tf.where(tf.math.is_finite(dots), ids, 0)
        ids, dots = _distinct(ids, dots, excluded)
        if popularity_weight is None:
            scores = dots
        else:
            weight = popularity_weight[:, tf.newaxis]
            scores = (1.0 - weight) * dots / self.temperature
            scores += weight * tf.gather(self.store.log_popularity, ids)
        eligible = tf.gather(self.store.listed, ids)
        # Fewer candidates than the width: an index over few items beside few fresh ones.
        missing = tf.maximum(self.width - tf.shape(ids)[1], 0)
        scores = tf.pad(
            tf.where(eligible, scores, LOWEST), [[0, 0], [0, missing]], constant_values=LOWEST
        )
        best, at = tf.math.top_k(scores, self.width)
        ids = tf.gather(tf.pad(ids, [[0, 0], [0, missing]]), at, batch_dims=1)
        return tf.where(best > LOWEST, ids, 0), best

    def _complete(
        self,
        best: Ranked,
        short: tf.Tensor,
        query: tf.Tensor,
        excluded: tf.Tensor,
        popularity_weight: tf.Tensor | None,
    ) -> Ranked:
        """The short rows made again from an exact search of what is eligible."""
        rows = tf.where(short)
        only: Callable[[tf.Tensor], tf.Tensor] = lambda of_all: tf.gather_nd(of_all, rows)  # noqa: E731
        weight = None if popularity_weight is None else only(popularity_weight)
        candidates = self._nearest_eligible(only(query), only(excluded))
        again = self._best(only(query), candidates, only(excluded), weight)
        return (
            tf.tensor_scatter_nd_update(best[0], rows, again[0]),
            tf.tensor_scatter_nd_update(best[1], rows, again[1]),
        )

    def _nearest_eligible(self, query: tf.Tensor, excluded: tf.Tensor) -> Ranked:
        """Exact, row by row: ids and dot products [B, width], NaN where there are no more."""
        vectors = tf.concat([self.index.vectors, self.store.fresh_vectors], 0)
        listed = self.store.listed[1:]

        def one(row: tuple[tf.Tensor, tf.Tensor]) -> Ranked:
            vector, left_out = row
            left_out = tf.boolean_mask(left_out, left_out > 0) - 1
            eligible = tf.tensor_scatter_nd_update(
                listed, left_out[:, tf.newaxis], tf.zeros_like(left_out, tf.bool)
            )
            dots = tf.where(eligible, tf.linalg.matvec(vectors, vector), LOWEST)
            best, at = tf.math.top_k(dots, self.width)
            return tf.cast(at, tf.int64) + 1, tf.where(best > LOWEST, best, float("nan"))

        return tf.map_fn(
            one, (query, excluded), fn_output_signature=(tf.int64, tf.float32), name="exactly"
        )


def _distinct(ids: tf.Tensor, dots: tf.Tensor, excluded: tf.Tensor) -> Ranked:
    """Candidates by id, with id 0 for repeats and for what is excluded.

    One sort serves both: an id that stands behind another entry of its own is left out, and the
    exclusions stand before all candidates.

    Args:
        ids: int64 [B, C], 0 for none.
        dots: float32 [B, C].
        excluded: int64 [B, X].

    Returns:
        Ids int64 and dot products float32, [B, X + C].
    """
    every = tf.concat([tf.maximum(excluded, 0), ids], 1)
    places = tf.range(tf.shape(every, tf.int64)[1], dtype=tf.int64)
    key = tf.sort(every * _POSITIONS + places, axis=1)
    entry, position = key // _POSITIONS, key % _POSITIONS
    first = tf.concat([tf.ones_like(entry[:, :1], tf.bool), entry[:, 1:] != entry[:, :-1]], 1)
    is_candidate = position >= tf.shape(excluded, tf.int64)[1]
    padded = tf.concat([tf.zeros_like(excluded, tf.float32), dots], 1)
    return (
        tf.where(first & is_candidate, entry, 0),
        tf.gather(padded, position, batch_dims=1),
    )
