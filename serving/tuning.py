"""The settings of an index: those that reach the recall target at the least latency."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.schema import Export, Index
from serving.index import (
    ExactSearcher,
    ScannSearcher,
    Searcher,
    kind_for,
    leaves_for,
    size_bytes,
)
from serving.served_search import served

FloatArray = npt.NDArray[np.float32]
Search = Callable[[FloatArray], FloatArray]
"""Queries to the scores that are found for them."""

_LEAVES_SHARES = (
    *(0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03),
    *(0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.3, 0.45, 0.6, 1.0),
)
_REORDER_FACTORS = (1, 1.5, 2, 3, 4, 8)  # times the list's width
_TIMED_CALLS = 200
_LEVELS_BEYOND_TARGET = 2  # numbers of leaves that are still tried after one reached the target
# Tuning aims so much higher than the target, about three standard errors of the mean recall over
# the tuning queries, so that other users get the target too.
_MARGIN = 0.005
# Dot products of unit vectors closer than this are the same place in the list.
_TIE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """One setting of an index, and what it was measured to give.

    Attributes:
        kind: of index.
        num_items: in it.
        num_leaves: partitions, 0 for none.
        leaves_to_search: of them, 0 for none.
        reorder: items scored exactly, 0 for all.
        recall: share of the exact top `width` that it finds, mean over the tuning queries; an item
            as near as the last of the exact list counts as found.
        width: length of the lists compared.
        num_queries: tuning queries.
        p50_ms: median time of a search for one query, called as a server calls it.
        p99_ms: its 99th percentile.
        size_bytes: of the index with the item vectors.
    """

    kind: str
    num_items: int
    num_leaves: int
    leaves_to_search: int
    reorder: int
    recall: float
    width: int
    num_queries: int
    p50_ms: float
    p99_ms: float
    size_bytes: int

    @property
    def setting(self) -> str:
        """What is set, in words."""
        if not self.reorder:
            return "exact"
        leaves = f"{self.leaves_to_search}/{self.num_leaves} leaves, " if self.num_leaves else ""
        return f"{leaves}reorder {self.reorder}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """An index, tuned.

    Attributes:
        searcher: a `tf.Module`, too.
        chosen: its setting.
        tried: every setting that was measured, the chosen one among them.
        build_s: seconds that the index took to build, without the tuning.
    """

    searcher: Searcher
    chosen: Tuning
    tried: Sequence[Tuning]
    build_s: float


def build(items: FloatArray, queries: FloatArray, *, config: Export, width: int) -> Tuned:
    """Builds the index that a catalog's size asks for and tunes it to the recall target.

    Among the settings that reach the target the fastest wins; if none does, the most accurate.

    Args:
        items: float32 [n, dim], n at least 1.
        queries: float32 [q, dim], user vectors that no item vector was made from.
        config: kind of index and recall target.
        width: length of the lists that the target speaks of, at most n.

    Raises:
        UserError: see `serving.index.kind_for`.
    """
    kind = kind_for(len(items), config)
    begin = time.perf_counter()
    exact = ExactSearcher(items)
    build_s = time.perf_counter() - begin
    measured = functools.partial(
        Tuning, kind=kind.value, num_items=len(items), width=width, num_queries=len(queries)
    )
    exactly = search_as_tuned(exact, width)
    if kind is Index.EXACT:
        with served(exact, {"search": exactly}) as calls:
            p50_ms, p99_ms = _latency(lambda query: calls["search"](query)[1], queries)
        chosen = measured(
            num_leaves=0,
            leaves_to_search=0,
            reorder=0,
            recall=1.0,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            size_bytes=size_bytes(exact),
        )
        return Tuned(searcher=exact, chosen=chosen, tried=[chosen], build_s=build_s)

    furthest = _scores(lambda query: exactly(query)["scores"].numpy(), queries)[:, -1:]
    leaves = leaves_for(len(items), kind)
    begin = time.perf_counter()
    searcher = ScannSearcher(items, num_leaves=leaves)
    build_s = time.perf_counter() - begin
    size = size_bytes(searcher)
    target = min(1.0, config.recall_target + _MARGIN)
    tried: list[Tuning] = []
    reached = 0
    with served(searcher, {"search": search_function(searcher, width)}) as calls:

        def scores(to_search: int, reorder: int, query: FloatArray) -> FloatArray:
            return calls["search"](np.int32(to_search), query, np.int32(reorder))[1]

        for to_search in _leaves_grid(leaves):
            for factor in _REORDER_FACTORS:
                reorder = min(round(width * factor), len(items))
                search = functools.partial(scores, to_search, reorder)
                p50_ms, p99_ms = _latency(search, queries)
                tried.append(
                    measured(
                        num_leaves=leaves,
                        leaves_to_search=to_search,
                        reorder=reorder,
                        recall=recall_by_score(_scores(search, queries), furthest),
                        p50_ms=p50_ms,
                        p99_ms=p99_ms,
                        size_bytes=size,
                    )
                )
                if tried[-1].recall >= target:
                    break  # a deeper reordering only costs more
            reached += tried[-1].recall >= target
            if reached > _LEVELS_BEYOND_TARGET:
                break
    chosen = best_of(tried, target)
    searcher.leaves_to_search, searcher.reorder = chosen.leaves_to_search, chosen.reorder
    searcher.tuned_width = width
    return Tuned(searcher=searcher, chosen=chosen, tried=tried, build_s=build_s)


def search_function(searcher: ScannSearcher, width: int) -> Any:
    """A `tf.function` of leaves_to_search int32 [], query float32 [B, dim] and reorder int32 [].

    Returns:
        It returns `rows` and `scores`, [B, width] each.
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32, name="leaves_to_search"),
            tf.TensorSpec([None, searcher.vectors.shape[1]], tf.float32, name="query"),
            tf.TensorSpec([], tf.int32, name="reorder"),
        ]
    )
    def search(
        leaves_to_search: tf.Tensor, query: tf.Tensor, reorder: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        rows, scores = searcher.search_with(
            query, width, leaves_to_search=leaves_to_search, reorder=reorder
        )
        return {"rows": rows, "scores": scores}

    return search


def search_as_tuned(searcher: Searcher, width: int) -> Any:
    """A `tf.function` of query float32 [B, dim], with the settings that the searcher has.

    Returns:
        It returns what `search_function`'s does.
    """

    @tf.function(
        input_signature=[tf.TensorSpec([None, searcher.vectors.shape[1]], tf.float32, name="query")]
    )
    def search(query: tf.Tensor) -> dict[str, tf.Tensor]:
        rows, scores = searcher.search(query, width)
        return {"rows": rows, "scores": scores}

    return search


def best_of(tried: Sequence[Tuning], target: float) -> Tuning:
    """The fastest of those that reach the target; if none does, the one nearest to it."""
    reaching = [each for each in tried if each.recall >= target]
    if reaching:
        return min(reaching, key=lambda each: each.p50_ms)
    return max(tried, key=lambda each: each.recall)


def recall_by_score(found: FloatArray, furthest: FloatArray, *, tie: float = _TIE) -> float:
    """Share of the exact top `width` that lists reach.

    Items at the same distance are interchangeable, which ids would not show.

    Args:
        found: float32 [q, width] dot products of a list's distinct items; NaN or the lowest float
            where it holds none.
        furthest: float32 [q, 1], the dot product of the last item of the exact list.
        tie: scores closer than this are equal.
    """
    return float(np.mean(np.nan_to_num(found, nan=-np.inf) >= furthest - tie))


def _leaves_grid(leaves: int) -> list[int]:
    if not leaves:
        return [0]
    return sorted({max(1, round(leaves * share)) for share in _LEAVES_SHARES})


def _scores(search: Search, queries: FloatArray) -> FloatArray:
    return np.concatenate([search(queries[i : i + 256]) for i in range(0, len(queries), 256)])


def _latency(search: Search, queries: FloatArray) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds of one query, the first calls left out."""
    times = []
    for call in range(_TIMED_CALLS + 5):
        row = call % len(queries)
        query = queries[row : row + 1]
        begin = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - begin)
    ordered = sorted(times[5:])
    return 1e3 * statistics.median(ordered), 1e3 * ordered[int(0.99 * len(ordered)) - 1]
