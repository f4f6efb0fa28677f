"""Exact top-k over the whole catalog, in blocks of queries and of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from preprocessing.columns import UNKNOWN_ITEM
from trainer.queries import Int64Array, Queries

Float32Array = npt.NDArray[np.float32]

PADDING = -1
"""What fills a list where fewer than k items are candidates."""

_QUERIES_AT_ONCE = 1_024
_ITEMS_AT_ONCE = 2**16
# Up to so many times the list's width are merged as they are; from more, the best are chosen first.
_MERGED_AT_ONCE = 4
# Selection is bound by memory traffic: 2**18 int64 keys fit a 2 MiB second-level cache. Measured on
# 30 k items: 5 ns a score in such chunks, 20 ns in chunks of 2**23.
_SELECTION_CHUNK = 2**18


class Scorer(Protocol):
    """Anything that can score a part of the catalog for some queries."""

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """Scores catalog items for queries.

        Args:
            queries: Q queries.
            rows: which of them; start and stop are given, within [0, Q].
            items: which catalog ids; start and stop are given, and cut as slices are at the end.

        Returns:
            A new float32 array [rows, items], which the caller may overwrite. Higher is better;
            -inf: an item that cannot be ranked, which is never listed. A score does not depend on
            which other queries and items are asked for with it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DotProductScorer:
    """Scores by the dot product of embeddings.

    Attributes:
        query_embedding: float32 [Q, d], a row per query.
        item_embedding: float32 [num_items, d], a row per catalog id; that of the unknown item is
            never listed.
    """

    query_embedding: Float32Array
    item_embedding: Float32Array

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`.

        Raises:
            ValueError: if there is not one embedding per query.
        """
        if len(queries) != len(self.query_embedding):
            raise ValueError(
                f"{len(queries)} queries asked for as many embeddings, found "
                f"{self.query_embedding.shape}"
            )
        return self.query_embedding[rows] @ self.item_embedding[items].T


def select_top_k(scores: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
    """The k highest scores of each row, best first; of equal scores the smaller index first.

    Args:
        scores: float32 [b, n].
        k: at least 1.

    Returns:
        Indices int64 [b, k] and their scores float32 [b, k]; `PADDING` and -inf where a row has
        fewer than k scores above -inf.

    Raises:
        ValueError: if a score is NaN.
    """
    rows, n = scores.shape
    width = min(k, n)
    indices = np.full((rows, k), PADDING, dtype=np.int64)
    top = np.full((rows, k), -np.inf, dtype=np.float32)
    chunk = max(1, _SELECTION_CHUNK // max(n, 1))
    for start in range(0, rows, chunk):
        block = scores[start : start + chunk]
        if np.isnan(block).any():
            raise ValueError(f"scores must be numbers, found NaN in rows from {start}")
        chosen = _select_by_key(block, width)
        value = np.take_along_axis(block, chosen, axis=1)
        indices[start : start + chunk, :width] = np.where(value > -np.inf, chosen, PADDING)
        top[start : start + chunk, :width] = value
    return indices, top


def _select_by_key(block: Float32Array, width: int) -> Int64Array:
    """Indices of the `width` best of each row, by one int64 key of score, then index.

    A float's bits, read as a two's complement integer with the lower 31 bits flipped where the sign
    is set, order as the float does. The index goes below them, reversed. Keys are all different, so
    an unstable partition is exact.
    """
    n = block.shape[1]
    bits = (block + np.float32(0)).view(np.int32)  # + 0: -0.0 has other bits than 0.0, same rank
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    key = bits.astype(np.int64)
    key <<= 32
    key |= np.arange(n - 1, -1, -1, dtype=np.int64)
    key.partition(n - width, axis=1)
    best_first = np.sort(key[:, n - width :], axis=1)[:, ::-1]
    return n - 1 - (best_first & np.int64(0xFFFFFFFF))


def top_k(
    scorer: Scorer,
    queries: Queries,
    *,
    k: int,
    available: Int64Array,
    exclude_seen: bool,
    block_rows: int = _QUERIES_AT_ONCE,
    block_items: int = _ITEMS_AT_ONCE,
) -> tuple[Int64Array, Float32Array]:
    """The k best candidates of each query, exactly.

    Candidates are the items that exist at the time of the query, less the unknown item and, with
    `exclude_seen`, less what the user has seen. Scores are made block by block and each block is
    merged into the best so far, so that memory does not grow with queries times items.

    Args:
        scorer: scores the catalog.
        queries: Q queries.
        k: the width of the lists.
        available: int64 [num_items], the time in UTC seconds from which each item exists.
        exclude_seen: whether what the user has seen is no candidate.
        block_rows: how many queries are scored at once.
        block_items: how many items are scored at once.

    Returns:
        Lists int64 [Q, k], best first, ties by the smaller id, padded at the end with `PADDING`;
        and their scores float32 [Q, k], -inf where padded.

    Raises:
        ValueError: if the scorer returns another shape or dtype than asked for, or NaN.
    """
    num_items = len(available)
    lists = np.full((len(queries), k), PADDING, dtype=np.int64)
    list_scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for start in range(0, len(queries), block_rows):
        rows = slice(start, min(start + block_rows, len(queries)))
        best = (lists[rows], list_scores[rows])
        for first in range(0, num_items, block_items):
            items = slice(first, min(first + block_items, num_items))
            scores = _checked(scorer, queries, rows, items)
            _mask(scores, queries, rows, items, available=available, exclude_seen=exclude_seen)
            best = _merge(*best, scores, first)
        lists[rows], list_scores[rows] = best
    return lists, list_scores


def _checked(scorer: Scorer, queries: Queries, rows: slice, items: slice) -> Float32Array:
    scores = scorer.score(queries, rows=rows, items=items)
    shape = (rows.stop - rows.start, items.stop - items.start)
    if scores.shape != shape or scores.dtype != np.float32:
        raise ValueError(
            f"{type(scorer).__name__} was to return float32 {shape}, found {scores.dtype} "
            f"{scores.shape}"
        )
    return scores


def _merge(
    lists: Int64Array, list_scores: Float32Array, scores: Float32Array, first: int
) -> tuple[Int64Array, Float32Array]:
    """The best of the lists [b, k] so far and of a block [b, n] of items from id `first` on.

    All ids of the block are larger than those of the lists, so that of equal scores the list's
    stay. After a few blocks hardly a score is above the k-th best: one comparison a score is left.
    """
    width = lists.shape[1]
    if np.isnan(scores.max(axis=1, initial=-np.inf)).any():  # max passes NaN on
        raise ValueError(f"scores must be numbers, found NaN in items from {first}")
    better = scores > list_scores[:, -1:]
    count = np.count_nonzero(better, axis=1)
    if count.max(initial=0) > _MERGED_AT_ONCE * width:
        item, value = select_top_k(scores, width)
        item = np.where(item == PADDING, PADDING, item + first)
    else:
        row, column = np.nonzero(better)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        item = np.full((len(lists), count.max(initial=0)), PADDING, dtype=np.int64)
        value = np.full(item.shape, -np.inf, dtype=np.float32)
        item[row, place], value[row, place] = column + first, scores[row, column]
    both_items = np.concatenate([lists, item], axis=1)
    chosen, best = select_top_k(np.concatenate([list_scores, value], axis=1), width)
    at = np.take_along_axis(both_items, np.maximum(chosen, 0), axis=1)
    return np.where(chosen == PADDING, PADDING, at), best


def _mask(
    scores: Float32Array,
    queries: Queries,
    rows: slice,
    items: slice,
    *,
    available: Int64Array,
    exclude_seen: bool,
) -> None:
    """Sets the scores of what is no candidate to -inf, in place."""
    if items.start <= UNKNOWN_ITEM < items.stop:
        scores[:, UNKNOWN_ITEM - items.start] = -np.inf
    as_of = queries.as_of[rows]
    since = available[items]
    sometimes_missing = np.flatnonzero(since > as_of.min())
    if len(sometimes_missing):
        missing = since[sometimes_missing] > as_of[:, None]
        scores[:, sometimes_missing] = np.where(missing, -np.inf, scores[:, sometimes_missing])
    if exclude_seen:
        seen = queries.seen.slice(rows.start, rows.stop)
        inside = (seen.values >= items.start) & (seen.values < items.stop)
        scores[seen.row_of_value[inside], seen.values[inside] - items.start] = -np.inf
