"""What a user was shown and did not want, given to the rows that could know of it."""

import numpy as np
import polars as pl

from configs.schema import Data
from preprocessing.contract import EVENT
from preprocessing.frames import ragged
from preprocessing.labels import CANCELLING, CODE_OF, Status
from preprocessing.point_in_time import Int64s, Moments, Timeline


def negatives_of(
    line: Timeline, events: pl.DataFrame, labels: Int64s, moments: Moments, *, data: Data
) -> pl.Series:
    """Catalog ids of each label's negatives: lists [labels] of int32, explicit ones first.

    An impression becomes known as a negative when its window has closed, a dislike or report at
    once; it goes to the user's first label that is as of a later second. It is none if a positive
    event of the pair came before that label (for a dislike or report: at or after it), or if it is
    the label's own item. Of an item's several the first in order counts.

    Args:
        line: of the events.
        events: labelled, in order.
        labels: rows of the labels, by user and time.
        moments: that the labels are as of.
        data: window, limit, and whether dislikes and reports are taken.
    """
    code = events[EVENT].to_numpy()
    impressed = np.flatnonzero(code == CODE_OF["impression"])
    explicit = np.flatnonzero(np.isin(code, CANCELLING) & data.explicit_negatives)
    row = np.concatenate([explicit, impressed])
    is_explicit = np.arange(len(row)) < len(explicit)
    known_at = line.time[row] + np.where(is_explicit, 0, data.label_window_sec)

    low = int(line.time.min(initial=0))
    span = int(line.time.max(initial=0)) - low + 2
    asked = moments.user * span + (moments.time - low)
    known = line.user[row] * span + np.minimum(known_at - low, span - 1)
    label = np.searchsorted(asked, known, side="right")
    found = label < len(labels)
    found[found] = moments.user[label[found]] == line.user[row[found]]
    row, label, is_explicit = row[found], label[found], is_explicit[found]

    pair = np.unique(line.user * (line.item.max(initial=0) + 1) + line.item, return_inverse=True)[1]
    wanted = np.flatnonzero(line.status > Status.NOT_POSITIVE)
    wanted_at = np.sort(pair[wanted] * span + (line.time[wanted] - low))
    since = pair[row] * span + np.where(is_explicit, line.time[row] - low, 0)
    until = pair[row] * span + (moments.time[label] - low)
    was_wanted = np.searchsorted(wanted_at, since) < np.searchsorted(wanted_at, until)
    kept = ~was_wanted & (line.item[row] != line.item[labels[label]])
    row, label, is_explicit = row[kept], label[kept], is_explicit[kept]

    order = np.lexsort((-row, ~is_explicit, label))
    item, label = line.item[row[order]], label[order]
    cell = label * (line.item.max(initial=0) + 1) + item
    first = np.sort(np.unique(cell, return_index=True)[1])
    item, label = item[first], label[first]
    lengths = np.bincount(label, minlength=len(labels))
    place = np.arange(len(label)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    limit = data.negatives_per_row
    return ragged(item[place < limit].astype(np.int32), np.minimum(lengths, limit))
