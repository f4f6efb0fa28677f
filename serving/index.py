"""Nearest items to a user: exact, or ScaNN, whichever the catalog's size asks for.

ScaNN is built with its own builder: TFRS's layer leaves out reordering and the anisotropic
threshold, repeats items where it finds too few, and fails on catalogs smaller than its partitions.
"""

import functools
import importlib
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Export, Index

FloatArray = npt.NDArray[np.float32]
Search = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# Source: ScaNN's documentation, "algorithms and configuration": two dimensions a block, an
# anisotropic threshold of 0.2 for unit vectors, and about sqrt(n) partitions.
_DIMENSIONS_PER_BLOCK = 2
_ANISOTROPIC_THRESHOLD = 0.2
_TRAINING_SAMPLE = 100_000
_LEAVES_SHARES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0)
_REORDER_FACTORS = (1, 2, 4, 8)  # times the list's width


class Searcher(Protocol):
    """What finds the items nearest to a query."""

    kind: Index

    def search(self, query: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
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
        self.items = tf.Variable(items, trainable=False, name="items")

    def search(self, query: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Searcher.search`; exact."""
        scores, rows = tf.math.top_k(tf.matmul(query, self.items, transpose_b=True), width)
        return rows, scores


class ScannSearcher(tf.Module):
    """Asymmetric hashing, then exact reordering; within the nearest partitions if there are any.

    Attributes:
        kind: `AH` or `PARTITIONED`.
        num_leaves: partitions; 0 for none.
        leaves_to_search: nearest partitions that are searched.
        reorder: items that are scored exactly, at least as many as are asked for.
    """

    def __init__(self, items: FloatArray, *, num_leaves: int) -> None:
        """Trains the index on item vectors, float32 [n, dim]."""
        super().__init__(name="scann")
        from scann.scann_ops.py import scann_ops

        self.kind = Index.PARTITIONED if num_leaves else Index.AH
        self.num_leaves = num_leaves
        self.leaves_to_search = max(1, num_leaves // 10)
        self.reorder = 0
        builder = scann_ops.builder(items, 10, "dot_product")
        if num_leaves:
            builder = builder.tree(
                num_leaves=num_leaves,
                num_leaves_to_search=self.leaves_to_search,
                training_sample_size=_TRAINING_SAMPLE,
                quantize_centroids=True,
            )
        builder = builder.score_ah(
            _DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=_ANISOTROPIC_THRESHOLD,
            training_sample_size=_TRAINING_SAMPLE,
        ).reorder(1_000)
        self.state = builder.build().serialize_to_module()

    def search(self, query: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Searcher.search`; approximate, with exact dot products."""
        return self.search_with(
            query, width, leaves_to_search=self.leaves_to_search, reorder=self.reorder
        )

    def search_with(
        self,
        query: tf.Tensor,
        width: int,
        *,
        leaves_to_search: int | tf.Tensor,
        reorder: int | tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `search`, with other settings than the tuned ones."""
        from scann.scann_ops.py import scann_ops

        searcher = scann_ops.searcher_from_module(self.state)
        rows, scores = searcher.search_batched(
            query,
            final_num_neighbors=width,
            pre_reorder_num_neighbors=tf.maximum(reorder, width),
            leaves_to_search=leaves_to_search if self.num_leaves else None,
        )
        return rows, scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What an index was tuned to, and what that was measured to give.

    Attributes:
        kind: of index.
        num_items: in it.
        num_leaves: partitions, 0 for none.
        leaves_to_search: of them, 0 for none.
        reorder: items scored exactly, 0 for all.
        recall: share of the exact top `width` that it finds, mean over the tuning queries.
        width: length of the lists compared.
        num_queries: tuning queries.
        batch_ms: median time of a search for 32 queries.
    """

    kind: str
    num_items: int
    num_leaves: int
    leaves_to_search: int
    reorder: int
    recall: float
    width: int
    num_queries: int
    batch_ms: float


def scann_available() -> bool:
    """Whether ScaNN is installed and its operations load."""
    if importlib.util.find_spec("scann") is None:
        return False
    importlib.import_module("scann.scann_ops.py.scann_ops")
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


def build(
    items: FloatArray, queries: FloatArray, *, config: Export, width: int
) -> tuple[Any, Tuning]:
    """Builds the index that a catalog's size asks for and tunes it to the recall target.

    Among the settings that reach the target the fastest wins; if none does, the most accurate.

    Args:
        items: float32 [n, dim], n at least 1.
        queries: float32 [q, dim], user vectors that no item vector was made from.
        config: kind of index and recall target.
        width: length of the lists that the target speaks of, at most n.

    Returns:
        A searcher (a `tf.Module` with `search`) and what it was tuned to.

    Raises:
        UserError: see `kind_for`.
    """
    kind = kind_for(len(items), config)
    exact = ExactSearcher(items)
    if kind is Index.EXACT:
        batch_ms = _batch_ms(tf.function(lambda query: exact.search(query, width)), queries)
        return exact, Tuning(
            kind=kind.value,
            num_items=len(items),
            num_leaves=0,
            leaves_to_search=0,
            reorder=0,
            recall=1.0,
            width=width,
            num_queries=len(queries),
            batch_ms=batch_ms,
        )
    truth = _rows(tf.function(lambda query: exact.search(query, width)), queries)
    leaves = round(math.sqrt(len(items))) if kind is Index.PARTITIONED else 0
    searcher = ScannSearcher(items, num_leaves=leaves)

    @tf.function
    def search(
        query: tf.Tensor, to_search: tf.Tensor, reorder: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return searcher.search_with(query, width, leaves_to_search=to_search, reorder=reorder)

    best: Tuning | None = None
    for to_search in _leaves_grid(leaves):
        for factor in _REORDER_FACTORS:
            reorder = min(width * factor, len(items))
            setting = functools.partial(
                search, to_search=tf.constant(to_search), reorder=tf.constant(reorder)
            )
            tried = Tuning(
                kind=kind.value,
                num_items=len(items),
                num_leaves=leaves,
                leaves_to_search=to_search,
                reorder=reorder,
                recall=mean_overlap(_rows(setting, queries), truth),
                width=width,
                num_queries=len(queries),
                batch_ms=_batch_ms(setting, queries),
            )
            if best is None or _better(tried, best, config.recall_target):
                best = tried
            if tried.recall >= config.recall_target:
                break  # a deeper reordering only costs more
    assert best is not None
    searcher.leaves_to_search, searcher.reorder = best.leaves_to_search, best.reorder
    return searcher, best


def _better(one: Tuning, other: Tuning, target: float) -> bool:
    """Whether one setting is better: the faster of two that reach the target, else the nearer."""
    if one.recall >= target and other.recall >= target:
        return one.batch_ms < other.batch_ms
    return one.recall > other.recall


def _leaves_grid(leaves: int) -> list[int]:
    if not leaves:
        return [0]
    return sorted({max(1, round(leaves * share)) for share in _LEAVES_SHARES})


def _rows(search: Search, queries: FloatArray) -> npt.NDArray[np.int32]:
    batches = [queries[i : i + 256] for i in range(0, len(queries), 256)]
    return np.concatenate([search(tf.constant(batch))[0].numpy() for batch in batches])


def _batch_ms(search: Search, queries: FloatArray) -> float:
    """Median milliseconds for 32 queries, the first call left out."""
    batch = tf.constant(np.resize(queries, (32, queries.shape[1])))
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        search(batch)[1].numpy()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times[1:])


def mean_overlap(found: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """Mean share of each row of `truth` [q, width] that the same row of `found` holds."""
    shares = [
        len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True) if len(t)
    ]
    return float(np.mean(shares))
