"""Nearest items to a user: exact, or ScaNN, whichever the catalog's size asks for.

ScaNN is built with its own builder: TFRS's layer leaves out reordering and the anisotropic
threshold, repeats items where it finds too few, and fails on catalogs smaller than its partitions.
"""

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Export, Index
from serving.cpp_logs import scann_ops

FloatArray = npt.NDArray[np.float32]

# Source: ScaNN's documentation, "algorithms and configuration": two dimensions a block, an
# anisotropic threshold of 0.2 for unit vectors, and partitions of the order of sqrt(n).
DIMENSIONS_PER_BLOCK = 2
ANISOTROPIC_THRESHOLD = 0.2
# Measured on a million vectors of an item tower (docs/adr/0007): with centroids drawn at random, or
# small partitions given up, as ScaNN does unless told, a query's neighbours lie in twice as many.
PARTITIONING = {
    "training_sample_size": 100_000,
    "training_iterations": 5,
    "random_init": False,  # k-means++
    "min_partition_size": 1,
    "quantize_centroids": False,
}
CODEBOOK_SAMPLE = 30_000
# An exact search of a batch holds at most so many scores (64 MiB) at once.
_SCORES_AT_ONCE = 1 << 24


class Searcher(Protocol):
    """What finds the items nearest to a query.

    Attributes:
        kind: of index.
        vectors: float32 [n, dim], the items' own, a variable.
    """

    kind: Index
    vectors: tf.Variable

    def search(self, query: tf.Tensor, width: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows of the highest dot products with a query, best first.

        Args:
            query: float32 [B, dim].
            width: how many, at most the number of items.

        Returns:
            int32 [B, width] rows and float32 [B, width] dot products. A row may hold repeats and
            NaN at its end where the index found too few.
        """
        ...


class ExactSearcher(tf.Module):
    """Every item is scored. Stock TensorFlow operations only."""

    kind = Index.EXACT

    def __init__(self, items: FloatArray) -> None:
        """Takes item vectors, float32 [n, dim]."""
        super().__init__(name="exact")
        self.vectors = tf.Variable(items, trainable=False, name="items")
        self._rows_at_once = max(1, _SCORES_AT_ONCE // max(1, len(items)))

    def search(self, query: tf.Tensor, width: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Searcher.search`; exact."""
        return tf.cond(
            tf.shape(query)[0] <= self._rows_at_once,
            lambda: self._search(query, width),
            lambda: self._search_in_blocks(query, width),
        )

    def _search(self, query: tf.Tensor, width: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores, rows = tf.math.top_k(tf.matmul(query, self.vectors, transpose_b=True), width)
        return rows, scores

    def _search_in_blocks(
        self, query: tf.Tensor, width: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_search`, in memory that does not grow with the batch."""
        count, size = tf.shape(query)[0], self._rows_at_once
        blocks = (count + size - 1) // size
        padded = tf.pad(query, [[0, blocks * size - count], [0, 0]])
        rows, scores = tf.map_fn(
            lambda block: self._search(block, width),
            tf.reshape(padded, tf.stack([blocks, size, tf.shape(query)[1]])),
            fn_output_signature=(tf.int32, tf.float32),
            parallel_iterations=1,
        )
        shape = tf.stack([blocks * size, tf.shape(rows)[2]])
        return tf.reshape(rows, shape)[:count], tf.reshape(scores, shape)[:count]


class ScannSearcher(tf.Module):
    """Asymmetric hashing, then exact reordering; within the nearest partitions if there are any.

    Attributes:
        kind: `AH` or `PARTITIONED`.
        num_leaves: partitions; 0 for none.
        leaves_to_search: nearest partitions that are searched for `tuned_width` items; in
            proportion for more, as for a request that leaves out its history or what it has seen.
        reorder: items that are scored exactly, in the same proportion.
        tuned_width: see there.
    """

    def __init__(self, items: FloatArray, *, num_leaves: int) -> None:
        """Trains the index on item vectors, float32 [n, dim]."""
        super().__init__(name="scann")
        self._ops = scann_ops()
        self.kind = Index.PARTITIONED if num_leaves else Index.AH
        self.num_leaves = num_leaves
        self.leaves_to_search = max(1, num_leaves // 10)
        self.reorder, self.tuned_width = 0, 1
        self._num_items = len(items)
        builder = self._ops.builder(items, 10, "dot_product")
        if num_leaves:
            builder = builder.tree(
                num_leaves=num_leaves,
                num_leaves_to_search=self.leaves_to_search,
                **PARTITIONING,
            )
        builder = builder.score_ah(
            DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD,
            training_sample_size=CODEBOOK_SAMPLE,
        ).reorder(1_000)
        self.state = builder.build().serialize_to_module()
        self.vectors = self.state.dataset  # what reordering scores exactly with

    def search(self, query: tf.Tensor, width: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Searcher.search`; approximate, with exact dot products."""
        return self.search_with(
            query,
            width,
            leaves_to_search=self._in_proportion(self.leaves_to_search, width, self.num_leaves),
            reorder=self._in_proportion(self.reorder, width, self._num_items),
        )

    def _in_proportion(self, setting: int, width: int | tf.Tensor, most: int) -> tf.Tensor:
        """A setting that was tuned for `tuned_width`, for a list of another width."""
        return tf.minimum((setting * width + self.tuned_width - 1) // self.tuned_width, most)

    def search_with(
        self,
        query: tf.Tensor,
        width: int | tf.Tensor,
        *,
        leaves_to_search: int | tf.Tensor,
        reorder: int | tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `search`, with other settings than the tuned ones."""
        count = tf.shape(query)[0]
        searcher = self._ops.searcher_from_module(self.state)
        asked = {
            "final_num_neighbors": width,
            "pre_reorder_num_neighbors": tf.maximum(reorder, width),
            "leaves_to_search": leaves_to_search if self.num_leaves else None,
        }

        def alone() -> tuple[tf.Tensor, tf.Tensor]:
            rows, scores = searcher.search(query[0], **asked)
            return rows[tf.newaxis], scores[tf.newaxis]

        def together() -> tuple[tf.Tensor, tf.Tensor]:
            # A partitioned index fails on a batch of none: it is asked for one, which is dropped.
            padded = tf.pad(query, [[0, tf.maximum(1 - count, 0)], [0, 0]])
            rows, scores = searcher.search_batched(padded, **asked)
            return rows[:count], scores[:count]

        # The same answer either way, and one query is the sooner answered.
        return tf.cond(tf.equal(count, 1), alone, together)


def size_bytes(searcher: Any) -> int:
    """Bytes of an index's variables, the item vectors themselves included."""
    return sum(np.asarray(v.numpy()).nbytes for v in searcher.variables)


def scann_available() -> bool:
    """Whether ScaNN is installed and its operations load."""
    try:
        scann_ops()
    except (ImportError, tf.errors.NotFoundError):
        return False
    return True


def kind_for(num_items: int, config: Export) -> Index:
    """The kind of index for a catalog of this size.

    Raises:
        UserError: the config asks for ScaNN where it cannot be imported.
    """
    if config.index is not Index.AUTO:
        if config.index is not Index.EXACT and not scann_available():
            raise UserError(
                f"config.export.index: found {config.index.value}, expected exact or auto where "
                "scann is not installed"
            )
        return config.index
    if num_items < config.exact_below or not scann_available():
        return Index.EXACT
    return Index.AH if num_items < config.partition_from else Index.PARTITIONED


def leaves_for(num_items: int, kind: Index) -> int:
    """How many partitions: about the square root of the number of items, 0 for none."""
    if kind is not Index.PARTITIONED:
        return 0
    return max(1, min(round(math.sqrt(num_items)), num_items))
