"""What evaluation asks and what baselines learn from: plain arrays, no files, no model features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocessing.columns import UNKNOWN_ITEM

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ragged:
    """Rows of varying length.

    Attributes:
        values: [total], the rows one after the other.
        offsets: int64 [rows + 1], non-decreasing; row i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: npt.NDArray[Any]
    offsets: Int64Array

    def __post_init__(self) -> None:
        """Checks that the offsets cut up the values.

        Raises:
            ValueError: if they do not.
        """
        offsets = self.offsets
        if self.values.ndim != 1 or offsets.ndim != 1 or offsets.dtype != np.int64:
            raise ValueError(
                "Ragged wants values [total] and int64 offsets [rows + 1], found "
                f"{self.values.shape} and {offsets.dtype} {offsets.shape}"
            )
        if (
            not len(offsets)
            or offsets[0] != 0
            or offsets[-1] != len(self.values)
            or np.any(np.diff(offsets) < 0)
        ):
            raise ValueError(
                f"Ragged offsets must rise from 0 to the {len(self.values)} values, found "
                f"{offsets[:3]} ... {offsets[-3:]}"
            )

    @classmethod
    def from_lists(
        cls, rows: Sequence[Sequence[object]], *, dtype: npt.DTypeLike = np.int64
    ) -> Ragged:
        """Packs one sequence per row."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        values = [value for row in rows for value in row]
        return cls.from_lengths(np.asarray(values, dtype=dtype), lengths)

    @classmethod
    def from_lengths(cls, values: npt.NDArray[Any], lengths: npt.ArrayLike) -> Ragged:
        """Cuts values [total] into rows of the given lengths [rows]."""
        return cls(values=values, offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """The length of each row, int64 [rows]."""
        return np.diff(self.offsets)

    @property
    def row_of_value(self) -> Int64Array:
        """The row that each value is in, int64 [total]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def row(self, index: int) -> npt.NDArray[Any]:
        """The values of one row, a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def slice(self, start: int, stop: int) -> Ragged:
        """Rows start..stop - 1; the values are a view."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(values=self.values[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])

    def take(self, rows: Int64Array) -> Ragged:
        """The given rows [n] in the given order, copied."""
        lengths = self.lengths[rows]
        taken = Ragged.from_lengths(np.empty(lengths.sum(), self.values.dtype), lengths)
        within = np.arange(taken.offsets[-1]) - np.repeat(taken.offsets[:-1], lengths)
        return replace(taken, values=self.values[np.repeat(self.offsets[rows], lengths) + within])

    def keep(self, mask: BoolArray) -> Ragged:
        """The same rows with only the values where mask [total] is true; rows may become empty."""
        kept_before = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Ragged(values=self.values[mask], offsets=kept_before[self.offsets])

    def last(self, count: int) -> Ragged:
        """The same rows cut to their last `count` values."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.values))
        return self.keep(from_end <= count)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Queries:
    """What evaluation asks, without model features.

    Attributes:
        user_id: str or bytes [Q].
        as_of: int64 [Q], the time of the query in UTC seconds.
        history: Q rows of int64 catalog ids, all the user's positives before the query (as the
            protocol defines "before"), oldest first.
        history_time: the times of `history`, int64 seconds, cut into the same rows.
        seen: Q rows of int64 catalog ids not to be recommended; any order, may repeat.
        relevant: Q rows of int64 catalog ids, none but the unknown item's twice in a row.
    """

    user_id: npt.NDArray[Any]
    as_of: Int64Array
    history: Ragged
    history_time: Ragged
    seen: Ragged
    relevant: Ragged

    def __post_init__(self) -> None:
        """Checks that the parts are about the same queries.

        Raises:
            ValueError: if they are not.
        """
        parts = (self.as_of, self.history, self.history_time, self.seen, self.relevant)
        if any(len(part) != len(self.user_id) for part in parts):
            raise ValueError(
                f"{len(self.user_id)} users asked for as many as_of, history, history_time, seen "
                f"and relevant, found {[len(part) for part in parts]}"
            )
        if not np.array_equal(self.history.offsets, self.history_time.offsets):
            raise ValueError("history and history_time must be cut into the same rows")

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.user_id)

    def take(self, rows: Int64Array) -> Queries:
        """The given queries [n] in the given order."""
        return Queries(
            user_id=self.user_id[rows],
            as_of=self.as_of[rows],
            history=self.history.take(rows),
            history_time=self.history_time.take(rows),
            seen=self.seen.take(rows),
            relevant=self.relevant.take(rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interactions:
    """Positives before the split, for baselines to learn from.

    Attributes:
        user: int64 [N], a dense index in [0, num_users).
        item: int64 [N], catalog ids in [0, num_items); the unknown item is 0.
        time: int64 [N], UTC seconds; where a user's times tie, the order of rows decides.
        num_users: how many users there are.
        num_items: how many catalog ids there are, the unknown item's included.
        end_time: the split, UTC seconds; nothing at or after it is in here.
    """

    user: Int64Array
    item: Int64Array
    time: Int64Array
    num_users: int
    num_items: int
    end_time: int

    def __post_init__(self) -> None:
        """Checks lengths and ranges.

        Raises:
            ValueError: if the columns differ in length, an index is out of range, or an event is
                not before `end_time`.
        """
        if not len(self.user) == len(self.item) == len(self.time):
            raise ValueError(
                "user, item and time must be equally long, found "
                f"{len(self.user)}, {len(self.item)} and {len(self.time)}"
            )
        for name, column, bound in (
            ("user", self.user, self.num_users),
            ("item", self.item, self.num_items),
        ):
            if len(column) and not 0 <= column.min() <= column.max() < bound:
                raise ValueError(
                    f"{name} must be in [0, {bound}), found {column.min()} to {column.max()}"
                )
        if len(self.time) and self.time.max() >= self.end_time:
            raise ValueError(f"time must be before {self.end_time}, found {self.time.max()}")

    @property
    def item_counts(self) -> Int64Array:
        """How many interactions each item has, int64 [num_items]; 0 for the unknown item."""
        counts = np.bincount(self.item, minlength=self.num_items).astype(np.int64)
        counts[UNKNOWN_ITEM] = 0
        return counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EligibleQueries:
    """Queries that a catalog-wide ranking can answer.

    Attributes:
        queries: those with a relevant candidate; `relevant` holds candidates only.
        rows: int64 [len(queries)], which of the original queries they are.
        dropped_queries: how many had no relevant candidate.
        lost_share: the share of all relevant (query, item) pairs that are no candidates.
        lost_unknown_share: of all pairs, those of the unknown item.
        lost_unavailable_share: of all pairs, those of an item that did not exist yet.
        lost_seen_share: of all pairs, those of an existing item that the user had seen.
    """

    queries: Queries
    rows: Int64Array
    dropped_queries: int
    lost_share: float
    lost_unknown_share: float
    lost_unavailable_share: float
    lost_seen_share: float


def eligible_relevant(
    queries: Queries, *, available: Int64Array, exclude_seen: bool
) -> EligibleQueries:
    """Drops relevant items that are not candidates, then queries with nothing relevant left.

    Args:
        queries: Q queries.
        available: int64 [num_items], the time in UTC seconds from which each item exists.
        exclude_seen: whether what the user has seen is no candidate.

    Raises:
        ValueError: if a relevant or seen id is outside [0, num_items).
    """
    relevant = queries.relevant.values
    num_items = len(available)
    for name, ids in (("relevant", relevant), ("seen", queries.seen.values)):
        if len(ids) and not 0 <= ids.min() <= ids.max() < num_items:
            raise ValueError(
                f"{name} ids must be in [0, {num_items}), found {ids.min()} to {ids.max()}"
            )
    row = queries.relevant.row_of_value
    unknown = relevant == UNKNOWN_ITEM
    unavailable = ~unknown & (available[relevant] > queries.as_of[row])
    seen = np.zeros(len(relevant), dtype=np.bool_)
    if exclude_seen:
        seen_key = queries.seen.row_of_value * num_items + queries.seen.values
        seen = ~unknown & ~unavailable & np.isin(row * num_items + relevant, seen_key)
    lost = unknown | unavailable | seen
    kept = queries.relevant.keep(~lost)
    rows = np.flatnonzero(kept.lengths)

    def share(mask: BoolArray) -> float:
        return float(np.count_nonzero(mask)) / max(len(relevant), 1)

    return EligibleQueries(
        queries=replace(queries, relevant=kept).take(rows),
        rows=rows,
        dropped_queries=len(queries) - len(rows),
        lost_share=share(lost),
        lost_unknown_share=share(unknown),
        lost_unavailable_share=share(unavailable),
        lost_seen_share=share(seen),
    )
