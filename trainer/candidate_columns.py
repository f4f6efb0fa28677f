"""Candidates as columns beside a batch's rows: what each is, and what the memory adds to them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import tensorflow as tf

from trainer.candidates import columns_by_item, columns_of
from trainer.losses import MASKED
from trainer.memory import ItemMemory
from trainer.replicas import own_rows

Inputs = Mapping[str, tf.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Candidates of every row: N columns, B rows.

    Attributes:
        item: int64 [N].
        copies: float32 [N].
        share: float32 [N].
        logits: float32 [B, N].
        masked: int64 [pairs, 2], (row, column) that is no negative of the row.
        hidden: bool [B, N], the same of what pairs do not say; None: nothing more.
        rows: float32 [], rows whose positives are among the columns.
        own_rows: float32 [B], those of the row's own user.
    """

    item: tf.Tensor
    copies: tf.Tensor
    share: tf.Tensor
    logits: tf.Tensor
    masked: tf.Tensor
    hidden: tf.Tensor | None
    rows: tf.Tensor
    own_rows: tf.Tensor

    def without_masked(self, log_weight: tf.Tensor) -> tf.Tensor:
        """Log weights, float32 [B, N], `MASKED` where a column is no negative of the row."""
        masked = tf.fill(tf.shape(self.masked)[:1], MASKED)
        log_weight = tf.tensor_scatter_nd_update(log_weight, self.masked, masked)
        return log_weight if self.hidden is None else tf.where(self.hidden, MASKED, log_weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """What is scored.

    Attributes:
        users: float [B, dim].
        candidates: float [T, dim], in any precision.
        temperature: float32 [].
    """

    users: tf.Tensor
    candidates: tf.Tensor
    temperature: tf.Tensor

    def logits(self, items: tf.Tensor) -> tf.Tensor:
        """Of items [N, dim] for each user: float32 [B, N]."""
        # The users are divided, not the logits: there are far fewer of them.
        users = tf.cast(self.users, tf.float32) / self.temperature
        items = tf.cast(tf.cast(items, self.users.dtype), tf.float32)
        return tf.matmul(users, items, transpose_b=True)

    def logits_of_own(self, index: tf.Tensor) -> tf.Tensor:
        """Of each user's own candidates, int64 [B, K]: float32 [B, K]."""
        own = tf.cast(tf.gather(self.candidates, index), tf.float32)
        return tf.linalg.matvec(own, tf.cast(self.users, tf.float32)) / self.temperature


def mask_of_pairs(pairs: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """True at each pair, int64 [n, 2]: bool of the shape."""
    is_pair = tf.ones(tf.shape(pairs)[:1], tf.bool)
    return tf.tensor_scatter_nd_update(tf.zeros(shape, tf.bool), pairs, is_pair)


def copies_of_item(item: tf.Tensor, copies: tf.Tensor) -> tf.Tensor:
    """Copies of each column's item over all of its columns: float32 [N]."""
    distinct, index = tf.unique(item)
    return tf.gather(tf.math.unsorted_segment_sum(copies, index, tf.shape(distinct)[0]), index)


def with_memory(
    columns: Columns,
    user: tf.Tensor,
    item_of_row: tf.Tensor,
    memory: ItemMemory,
    used: tf.Tensor,
    remembered: tf.Tensor,
) -> Columns:
    """The columns followed by the memory's, of which the first `used` count.

    Args:
        columns: so far.
        user: int64 [rows of the whole batch].
        item_of_row: int64, the same.
        memory: of S slots.
        used: int64 [].
        remembered: float32 [B, S], logits of the memory's items.
    """
    item = tf.concat([columns.item, memory.item], 0)
    is_liked, entries = _known_to_user(user, item_of_row, memory, used, item)
    filled = tf.cast(tf.range(memory.size, dtype=tf.int64) < used, tf.float32)
    return Columns(
        item=item,
        copies=tf.concat([columns.copies, filled], 0),
        share=tf.concat([columns.share, memory.share], 0),
        logits=tf.concat([columns.logits, remembered], 1),
        masked=columns.masked,
        hidden=is_liked,
        rows=columns.rows + tf.cast(used, tf.float32),
        own_rows=columns.own_rows + entries,
    )


def _known_to_user(
    user: tf.Tensor,
    item_of_row: tf.Tensor,
    memory: ItemMemory,
    used: tf.Tensor,
    columns: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which columns hold a positive of the row's user, of the batch or of the memory.

    Args:
        user: int64 [rows of the whole batch].
        item_of_row: int64, the same.
        memory: whose first `used` slots count.
        used: int64 [].
        columns: int64 [N], items.

    Returns:
        bool [B, N], and the memory's entries of each row's user, float32 [B].
    """
    distinct, user_index = tf.unique(user)
    order = tf.argsort(distinct)
    ascending = tf.gather(distinct, order)
    place = tf.minimum(tf.searchsorted(ascending, memory.user), tf.shape(ascending)[0] - 1)
    is_known = (tf.gather(ascending, place) == memory.user) & (
        tf.range(memory.size, dtype=tf.int64) < used
    )
    entry = tf.where(is_known)[:, 0]
    owner = tf.gather(order, tf.gather(place, entry))
    liked_by = tf.concat([user_index, owner], 0)
    liked = tf.concat([item_of_row, tf.gather(memory.item, entry)], 0)
    at = tf.where(liked[:, tf.newaxis] == columns)
    pairs = tf.stack([tf.cast(tf.gather(liked_by, at[:, 0]), tf.int64), at[:, 1]], 1)
    shape = tf.stack([tf.shape(distinct, tf.int64)[0], tf.shape(columns, tf.int64)[0]])
    entries = tf.math.unsorted_segment_sum(
        tf.ones_like(owner, tf.float32), owner, tf.shape(distinct)[0]
    )
    own_index = own_rows(user_index)
    return tf.gather(mask_of_pairs(pairs, shape), own_index), tf.gather(entries, own_index)


def without_history(columns: Columns, had_before: tf.Tensor, memory: ItemMemory) -> Columns:
    """Masks what the memory's columns have of each row's history; of the others it is masked.

    Args:
        columns: the memory's last.
        had_before: int64 [n, 2], (row, item).
        memory: of S slots.
    """
    first = tf.shape(columns.item, tf.int64)[0] - memory.size
    distinct, index = tf.unique(tf.concat([memory.item, had_before[:, 1]], 0), tf.int64)
    of_item = columns_by_item(index[: memory.size], distinct)
    pairs = columns_of(had_before[:, 0], index[memory.size :], of_item) + tf.stack([0, first])
    return replace(columns, masked=tf.concat([columns.masked, pairs], 0))


def without_shown(
    columns: Columns, shown: tf.Tensor, inputs: Inputs, memory: ItemMemory, used: tf.Tensor
) -> tuple[Columns, tf.Tensor]:
    """Hides the memory's copies of impressed items; drops those that it knows as the user's own.

    Args:
        columns: the memory's last.
        shown: int64 [B, K], impressed candidates; -1 for none.
        inputs: the batch.
        memory: whose first `used` slots count.
        used: int64 [].
    """
    slots = tf.range(memory.size, dtype=tf.int64)
    mine = (own_rows(inputs["user"])[:, tf.newaxis] == memory.user) & (slots < used)
    items = tf.where(shown >= 0, tf.gather(inputs["candidate_item"], tf.maximum(shown, 0)), -1)
    copies, liked = tf.zeros_like(mine), []
    for item in tf.unstack(items, axis=1):  # one at a time: all at once are B * K * slots
        same = item[:, tf.newaxis] == memory.item
        copies |= same
        liked.append(tf.reduce_any(same & mine, 1))
    before = tf.shape(columns.item)[0] - memory.size
    hidden = tf.pad(copies, [[0, 0], [before, 0]])
    if columns.hidden is not None:
        hidden |= columns.hidden
    return replace(columns, hidden=hidden), tf.where(tf.stack(liked, 1), -1, shown)
