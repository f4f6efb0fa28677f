"""What was known of a group of users at many moments at once, from their events in order.

A moment is a user and a bound: the events of the user that count are those in the rows
`start[user]`..`bound - 1` of the events, so that each rule of what is earlier (strictly in time, or
in the order of files) is one way of finding the bound, and all else is shared.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import Count, Measure
from preprocessing.columns import ITEM, SECONDS_PER_DAY, TIMESTAMP, USER_ID
from preprocessing.contract import VIDEO_ID
from preprocessing.frames import gather_ranges, ragged
from preprocessing.labels import STATUS, Status
from preprocessing.measures import amount, is_counted

Int64s = npt.NDArray[np.int64]

_CELLS = 1 << 22
"""Counts of shares worked on together: some 200 MB of arrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Times at which users are looked at.

    Attributes:
        user: int64 [n], code of the user.
        bound: int64 [n], the user's events in the rows before it count.
        time: int64 [n], UTC seconds.
    """

    user: Int64s
    bound: Int64s
    time: Int64s

    def __len__(self) -> int:
        """How many."""
        return len(self.user)

    def take(self, which: Int64s | npt.NDArray[np.bool_] | slice) -> "Moments":
        """Some of them."""
        return Moments(user=self.user[which], bound=self.bound[which], time=self.time[which])


class Timeline:
    """The labelled events of some users, in order, as arrays.

    Attributes:
        users: their ids, ascending; a user's place is its code.
        user: int64 [events], code of the event's user.
        time: int64 [events].
        item: int64 [events], catalog id.
        status: uint8 [events], of `labels.Status`.
        start: int64 [users + 1], each user's first event.
        positive: int64 [positives], rows of the events that are positives.
    """

    def __init__(self, events: pl.DataFrame, users: pl.Series, item_of: pl.DataFrame):
        """Takes labelled events sorted by user.

        Args:
            events: of `labels.label`.
            users: ids, ascending, at least those of the events.
            item_of: `video_id` and `item` of the catalog.
        """
        self.users = users
        self._events = events
        self._sums: dict[tuple[str, Measure], tuple[Int64s, Int64s, Int64s]] = {}
        self.user = users.search_sorted(events[USER_ID]).to_numpy().astype(np.int64)
        self.time = events[TIMESTAMP].to_numpy()
        self.item = (
            events.select(VIDEO_ID)
            .join(item_of, on=VIDEO_ID, how="left", maintain_order="left")[ITEM]
            .to_numpy()
            .astype(np.int64)
        )
        self.status = events[STATUS].to_numpy()
        self.start = np.searchsorted(self.user, np.arange(len(users) + 1))
        self.positive = np.flatnonzero(self.status >= Status.CANCELLED)
        # Before each row of the events, how many positives there are.
        self._positives_before = np.concatenate([[0], np.cumsum(self.status >= Status.CANCELLED)])
        self._first_rows: dict[bool, Int64s] = {}
        self._low = int(self.time.min(initial=0))
        self._span = int(self.time.max(initial=0)) - self._low + 2
        self._key = self.user * self._span + (self.time - self._low)

    def strictly_before(self, user: Int64s, time: Int64s) -> Moments:
        """Users at times; events strictly earlier count."""
        return Moments(user=user, bound=self._first_at_or_after(user, time), time=time)

    def in_row_order(self, row: Int64s) -> Moments:
        """At the given events [n]; the user's events in the rows before each count."""
        return Moments(user=self.user[row], bound=row, time=self.time[row])

    def _first_at_or_after(self, user: Int64s, time: Int64s) -> Int64s:
        within = np.clip(time - self._low, 0, self._span - 1)
        return np.searchsorted(self._key, user * self._span + within)

    def newest_row(self, moments: Moments) -> Int64s:
        """Row of the newest event that counts, -1 for none: int64 [n]."""
        return np.where(moments.bound > self.start[moments.user], moments.bound - 1, -1)

    def positives(self, moments: Moments) -> tuple[Int64s, Int64s]:
        """Where in `positive` those that count begin and end: int64 [n] each."""
        before = self._positives_before
        return before[self.start[moments.user]], before[moments.bound]

    def count(self, moments: Moments, count: Count) -> tuple[Int64s, Int64s]:
        """The sum over the events that count, and the time of the newest, 0 for none: int64 [n]."""
        before, total, times = self._running(count)
        first = self.start[moments.user]
        if count.window_days:
            since = moments.time - count.window_days * SECONDS_PER_DAY
            # Under file order an event of this very second may count; the bound decides.
            first = np.minimum(self._first_at_or_after(moments.user, since), moments.bound)
        some = before[moments.bound] > before[first]
        newest = np.where(some, times[before[moments.bound]], 0)
        return total[moments.bound] - total[first], newest

    def _running(self, count: Count) -> tuple[Int64s, Int64s, Int64s]:
        """Before each row of the events: how many are counted, what they add; and their times."""
        key = count.event, count.measure
        if key not in self._sums:
            columns = self._events.select(
                is_counted(count).alias("is"), amount(count).alias("adds")
            )
            counted = columns["is"].to_numpy()
            self._sums[key] = (
                np.concatenate([[0], np.cumsum(counted)]),
                np.concatenate([[0], np.cumsum(columns["adds"].to_numpy())]),
                np.concatenate([[0], self.time[counted]]),
            )
        return self._sums[key]

    def history(self, moments: Moments, max_length: int | None) -> tuple[pl.Series, pl.Series]:
        """Catalog ids (int32) and times (int64) of the last positives, oldest first: lists [n]."""
        first, last = self.positives(moments)
        if max_length is not None:
            first = np.maximum(first, last - max_length)
        return self.listed(first, last)

    def listed(self, first: Int64s, last: Int64s) -> tuple[pl.Series, pl.Series]:
        """Catalog ids (int32) and times (int64) of the positives first..last - 1: lists [n]."""
        rows = self.positive[gather_ranges(first, last)]
        lengths = last - first
        return ragged(self.item[rows].astype(np.int32), lengths), ragged(self.time[rows], lengths)

    def seen(self, moments: Moments, *, only_positives: bool) -> pl.Series:
        """Catalog ids (int32) of the items of events that count, each once: lists [n]."""
        first_rows = self._first_contacts(only_positives=only_positives)
        first = np.searchsorted(first_rows, self.start[moments.user])
        last = np.searchsorted(first_rows, moments.bound)
        rows = first_rows[gather_ranges(first, last)]
        return ragged(self.item[rows].astype(np.int32), last - first)

    def _first_contacts(self, *, only_positives: bool) -> Int64s:
        """Rows of the first event, or positive, of each (user, item), in order."""
        if only_positives not in self._first_rows:
            among = self.positive if only_positives else np.arange(len(self.time))
            pair = self.user[among] * (self.item.max(initial=0) + 1) + self.item[among]
            first = np.sort(np.unique(pair, return_index=True)[1])
            self._first_rows[only_positives] = among[first]
        return self._first_rows[only_positives]

    def shares(
        self, moments: Moments, key_of_item: npt.NDArray[np.int32], max_keys: int
    ) -> tuple[pl.Series, pl.Series]:
        """The most frequent keys (int32) of the positives that count, and their counts (int64).

        Ties go by key; keys below 0 are left out.

        Args:
            moments: in order of user and bound.
            key_of_item: by catalog id.
            max_keys: lists are at most so long.
        """
        keys = key_of_item[self.item[self.positive]].astype(np.int64)
        keyed = np.flatnonzero(keys >= 0)
        keys = keys[keyed]
        owner = self.user[self.positive[keyed]]
        # A user's moments times the user's keys are worked on together, which for a user of very
        # many events is cut up.
        width = int(keys.max(initial=0)) + 1
        keys_of = np.bincount(np.unique(owner * width + keys) // width, minlength=len(self.users))
        cells = np.cumsum(keys_of[moments.user])
        cuts = np.searchsorted(cells, np.arange(_CELLS, cells.max(initial=0), _CELLS)).tolist()
        bounds = sorted({0, *cuts, len(moments)})
        blocks = [
            self._shares(moments.take(slice(first, last)), keyed, keys, max_keys)
            for first, last in zip(bounds[:-1], bounds[1:], strict=True)
        ] or [self._shares(moments, keyed, keys, max_keys)]
        found = [pl.concat(each, rechunk=True) for each in zip(*blocks, strict=True)]
        return found[0], found[1]

    def _shares(
        self, moments: Moments, keyed: Int64s, keys: Int64s, max_keys: int
    ) -> tuple[pl.Series, pl.Series]:
        """`shares` at some moments, from the positives with a key, and their keys."""
        owner = self.user[self.positive[keyed]]
        # Cells are (user, key of theirs, moment of theirs), moments the fastest: a positive adds 1
        # at the first moment that sees it, and running sums along the moments are the counts.
        width = int(keys.max(initial=0)) + 1
        pairs, pair_of = np.unique(owner * width + keys, return_inverse=True)
        pair_user, pair_key = pairs // width, pairs % width
        moments_of = np.bincount(moments.user, minlength=len(self.users))
        first_moment = np.cumsum(moments_of) - moments_of
        cells = moments_of[pair_user]
        first_cell = np.cumsum(cells) - cells
        seen_from = np.searchsorted(moments.bound, self.positive[keyed], side="right")
        seen_from = np.maximum(seen_from - first_moment[owner], 0)
        is_seen = seen_from < moments_of[owner]
        cell = first_cell[pair_of[is_seen]] + seen_from[is_seen]
        added = np.bincount(cell, minlength=int(cells.sum()))
        running = np.cumsum(added)
        base = np.concatenate([[0], running])[first_cell]
        counts = running - np.repeat(base, cells)
        row = gather_ranges(first_moment[pair_user], first_moment[pair_user] + cells)
        key = np.repeat(pair_key, cells)
        some = counts > 0
        return _most_frequent(row[some], key[some], counts[some], len(moments), max_keys)


def _most_frequent(
    row: Int64s, key: Int64s, count: Int64s, rows: int, max_keys: int
) -> tuple[pl.Series, pl.Series]:
    """By row the keys of the highest counts, ties by key: lists of keys and of counts [rows]."""
    key_bits = int(key.max(initial=0)).bit_length()
    count_bits = int(count.max(initial=0)).bit_length()
    if rows.bit_length() + key_bits + count_bits <= 63:
        # One number each sorts several times faster than three columns.
        rank = (1 << count_bits) - 1 - count
        packed = np.sort((row << (key_bits + count_bits)) | (rank << key_bits) | key)
        key = packed & ((1 << key_bits) - 1)
        count = (1 << count_bits) - 1 - ((packed >> key_bits) & ((1 << count_bits) - 1))
        row = packed >> (key_bits + count_bits)
    else:
        order = np.lexsort((key, -count, row))
        row, key, count = row[order], key[order], count[order]
    lengths = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = place < max_keys
    lengths = np.minimum(lengths, max_keys)
    return ragged(key[kept].astype(np.int32), lengths), ragged(count[kept], lengths)
