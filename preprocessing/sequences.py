"""Which rows of a user are one sequence, and the history that they share."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from preprocessing.hashing import combine, hash_strings
from preprocessing.point_in_time import Int64s, Moments, Timeline


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Rows as sequences.

    Attributes:
        hashes: uint64 [n], of the user and the sequence's number; the same for all of its rows.
        item: lists of catalog ids (int32) [n]: the sequence's history at its last row, nothing at
            the others.
        time: lists of their times (int64) [n].
        end: int64 [n], how many of the history each row's own is.
    """

    hashes: npt.NDArray[np.uint64]
    item: pl.Series
    time: pl.Series
    end: Int64s


def sequences_of(line: Timeline, moments: Moments, *, length: int, context: int) -> Sequences:
    """Cuts the moments of each user into sequences.

    A user's first sequence has the moments of which up to `length` positives are known; each later
    one begins `context` positives before where the one before it ended. What a moment knows of is
    decided by its bound, so that rows at one second do not see one another unless ties go by file
    order.

    Args:
        line: of the events.
        moments: in order of user and bound.
        length: positives in a sequence, at most.
        context: below `length`.
    """
    first, last = line.positives(moments)
    stride = length - context
    number = np.maximum(-((length - (last - first)) // stride), 0)
    start = first + number * stride
    is_last = np.ones(len(moments), np.bool_)
    is_last[:-1] = (np.diff(moments.user) != 0) | (np.diff(number) != 0)
    item, time = line.listed(start, np.where(is_last, last, start))
    hashes = combine(hash_strings(line.users)[moments.user], number)
    return Sequences(hashes=hashes, item=item, time=time, end=last - start)
