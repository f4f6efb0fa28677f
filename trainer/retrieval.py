"""Exact top-k over the whole catalog, in blocks of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from preprocessing.features import UNKNOWN_ITEM
from trainer.queries import Int64Array, Queries

Float32Array = npt.NDArray[np.float32]

PADDING = -1
"""What fills a list where fewer than k items are candidates."""

_SCORE_BLOCK_BYTES = 256 * 2**20
# Selection is bound by memory traffic: 2**18 int64 keys fit a 2 MiB second-level cache. Measured on
# 30 k items: 5 ns a score in such chunks, 20 ns in chunks of 2**23.
_SELECTION_CHUNK = 2**18


class Scorer(Protocol):
    """Anything that can score the catalog for a query."""

    def score(self, queries: Queries, start: int, stop: int) -> Float32Array:
        """Scores every catalog item for queries start..stop - 1.

        Returns:
            A new float32 array [stop - start, num_items], which the caller may overwrite. Higher is
            better; -inf: an item that cannot be ranked, which is never listed.
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

    def score(self, queries: Queries, start: int, stop: int) -> Float32Array:
        """See `Scorer`.

        Raises:
            ValueError: if there is not one embedding per query.
        """
        if len(queries) != len(self.query_embedding):
            raise ValueError(
                f"{len(queries)} queries asked for as many embeddings, found "
                f"{self.query_embedding.shape}"
            )
        return self.query_embedding[start:stop] @ self.item_embedding.T


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
    block_rows: int | None = None,
) -> tuple[Int64Array, Float32Array]:
    """The k best candidates of each query, exactly.

    Candidates are the items that exist at the time of the query, less the unknown item and, with
    `exclude_seen`, less what the user has seen.

    Args:
        scorer: scores the catalog.
        queries: Q queries.
        k: the width of the lists.
        available: int64 [num_items], the time in UTC seconds from which each item exists.
        exclude_seen: whether what the user has seen is no candidate.
        block_rows: how many queries are scored at once; by default as many as 256 MiB of scores
            hold, at least one.

    Returns:
        Lists int64 [Q, k], best first, ties by the smaller id, padded at the end with `PADDING`;
        and their scores float32 [Q, k], -inf where padded.

    Raises:
        ValueError: if the scorer returns another shape or dtype than asked for, or NaN.
    """
    num_items = len(available)
    if block_rows is None:
        block_rows = max(1, _SCORE_BLOCK_BYTES // (4 * max(num_items, 1)))
    lists = np.empty((len(queries), k), dtype=np.int64)
    list_scores = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), block_rows):
        stop = min(start + block_rows, len(queries))
        scores = scorer.score(queries, start, stop)
        if scores.shape != (stop - start, num_items) or scores.dtype != np.float32:
            raise ValueError(
                f"{type(scorer).__name__} was to return float32 {(stop - start, num_items)}, "
                f"found {scores.dtype} {scores.shape}"
            )
        _mask(scores, queries, start, stop, available=available, exclude_seen=exclude_seen)
        lists[start:stop], list_scores[start:stop] = select_top_k(scores, k)
    return lists, list_scores


def _mask(
    scores: Float32Array,
    queries: Queries,
    start: int,
    stop: int,
    *,
    available: Int64Array,
    exclude_seen: bool,
) -> None:
    """Sets the scores of what is no candidate to -inf, in place."""
    scores[:, UNKNOWN_ITEM] = -np.inf
    as_of = queries.as_of[start:stop]
    sometimes_missing = np.flatnonzero(available > as_of.min())
    if len(sometimes_missing):
        missing = available[sometimes_missing] > as_of[:, None]
        scores[:, sometimes_missing] = np.where(missing, -np.inf, scores[:, sometimes_missing])
    if exclude_seen:
        seen = queries.seen.slice(start, stop)
        scores[seen.row_of_value, seen.values] = -np.inf
