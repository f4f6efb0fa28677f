"""From a batch's rows to its candidates: distinct items, who may see which, how each was drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Config, LossKind
from configs.training import FULL_SOFTMAX_MAX_ITEMS
from preprocessing.columns import END_SUFFIX, NEGATIVE_ITEM, USER_ID
from preprocessing.features import FeatureSpec
from trainer.catalog import Catalog, DailyCounts
from trainer.records import PAD_ITEM, SEQUENCE_ROWS
from trainer.shares import OverallShares, Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What the loss must know of how a batch's negatives came about.

    Attributes:
        shares: of items, how often they are the positive of a row.
        train_rows: all of them.
        num_known: uniform negatives are drawn from ids 1..num_known.
        in_batch: whether the batch's positives are negatives for one another.
        uniform: items drawn uniformly for a batch; None: every known item, once.
        impressed: impressed negatives of a row, at most.
        mask_user: whether all positives of a row's user are masked, not its own alone.
        mask_history: whether the items of a row's history are masked.
        remembers: whether items of earlier batches are negatives too.
        user_count: float32 of train rows by user id, 0 for others; None where nobody asks.
        by_day: whether an item's features differ by day, so that a candidate is (item, day).
        upload_day: int64 [items + 1], the first day on which each item exists.
    """

    shares: Shares
    train_rows: int
    num_known: int
    in_batch: bool
    uniform: int | None
    impressed: int
    mask_user: bool
    mask_history: bool
    remembers: bool
    user_count: tf.lookup.StaticHashTable | None
    by_day: bool
    upload_day: np.ndarray


def sampling_of(
    config: Config,
    spec: FeatureSpec,
    catalog: Catalog,
    *,
    shares: Shares | None = None,
    user_count: Mapping[str, int] | None = None,
) -> Sampling:
    """The sampling that a config asks for.

    Args:
        config: whose loss has the mix of negatives.
        spec: of the dataset.
        catalog: of the dataset.
        shares: of items; None: those of the catalog's counts.
        user_count: train rows by user id; a symmetric loss needs them.

    Raises:
        UserError: the catalog is too large for the full softmax, or the dataset's rows have no
            impressed negatives.
    """
    loss = config.loss
    is_full = loss.kind is LossKind.FULL_SOFTMAX
    if is_full and catalog.num_known > FULL_SOFTMAX_MAX_ITEMS:
        raise UserError(
            f"config.loss.kind: found full_softmax for {catalog.num_known:,} items, expected at "
            f"most {FULL_SOFTMAX_MAX_ITEMS:,}; sampled_softmax has no such bound"
        )
    if loss.impressed_negatives and NEGATIVE_ITEM not in {c.name for c in spec.train_columns}:
        raise UserError(
            f"config.loss.impressed_negatives: found {loss.impressed_negatives}, expected 0: the "
            f"dataset's rows have no column {NEGATIVE_ITEM}"
        )
    return Sampling(
        shares=OverallShares(catalog.train_count) if shares is None else shares,
        train_rows=int(catalog.train_count.sum()),
        num_known=catalog.num_known,
        in_batch=loss.in_batch_negatives and not is_full,
        uniform=None if is_full else loss.uniform_negatives,
        impressed=loss.impressed_negatives,
        mask_user=loss.mask_user_positives,
        mask_history=bool(loss.mask_history),
        remembers=loss.memory_size > 0,
        user_count=None if user_count is None else _table(user_count),
        by_day=spec.has_daily_items,
        upload_day=catalog.upload_day,
    )


def _table(count: Mapping[str, int]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(count), tf.string)
    values = tf.constant(list(count.values()), tf.float32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)


def candidates_of(
    batch: Mapping[str, tf.Tensor], history_column: str, sampling: Sampling, draw: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Distinct items and candidates of a batch, what each row may not see, and sampling counts.

    A candidate is a distinct item, or a distinct (item, day) where item features differ by day.
    Those that were drawn for all rows come first, C of them; after them those that are candidates
    of single rows only, which they were shown to. A row's masked candidates are all copies of the
    items of its user's rows in this batch (its own positive and, with `mask_user`, what else the
    user liked) and, with `mask_history`, of its history.

    Args:
        batch: rows, [B, ...] each.
        history_column: name of the histories' catalog ids, int64 [B, L]; in the sequence form
            [S, L] (`trainer.records.parse_sequences`).
        sampling: of negatives.
        draw: int64 [2], seed.

    Returns:
        What `trainer.negatives.Negatives` and `trainer.model.TwoTower` read of a batch:
            `distinct_item` int64 [D]; `history_index` int64 [B, L] into it, and `history_mask`;
            `candidate_item`, `candidate_day`, `candidate_index` (into `distinct_item`) int64 [T];
            `candidate_copies`, `candidate_share` float32 [C]; `positive_index` int64 [B];
            `masked` int64 [pairs, 2], (row, column below C); `user` int64 [B], a hash;
            `row_day` int64 [B]; `rows_of_user`, `weight` float32 [B]; where it is asked for
            `user_share` float32 [B]; with impressed negatives `impressed_index` int64 [B, K],
            -1 for none, and `impressed_masked` int64 [pairs, 2]; with `mask_history` and
            `remembers` `had_before` int64 [pairs, 2], (row, item) of its history.
    """
    positive, day, history = batch["item"], batch["day"], batch[history_column]
    rows = tf.shape(positive, tf.int64)[0]
    user = tf.strings.to_hash_bucket_fast(batch[USER_ID], 1 << 62)
    if sampling.mask_user:
        _, user_index, rows_of_user = tf.unique_with_counts(user, tf.int64)
    else:  # as if each row were of a user of its own
        user_index, rows_of_user = tf.range(rows), tf.ones_like(user)

    uniform, uniform_day = _uniform(day, sampling, draw)
    item = [positive, uniform]
    days = [day, uniform_day]
    num_drawn = rows + tf.shape(uniform, tf.int64)[0]
    if sampling.impressed:
        shown = batch[NEGATIVE_ITEM][:, : sampling.impressed]
        is_negative = (shown > 0) & ~_liked(shown, positive, user_index)
        # What is none is taken for the row's own positive, to make no candidate of its own.
        own = tf.broadcast_to(positive[:, tf.newaxis], tf.shape(shown))
        item.append(tf.reshape(tf.where(is_negative, shown, own), [-1]))
        days.append(tf.repeat(day, tf.shape(shown)[1]))
    item, days = tf.concat(item, 0), tf.concat(days, 0)
    if not sampling.by_day:
        days = tf.zeros_like(days)

    key, candidate_of = tf.unique(DailyCounts.key_of(item, days), tf.int64)
    candidate_item, candidate_day = DailyCounts.item_and_day(key)
    num_columns = tf.reduce_max(candidate_of[:num_drawn]) + 1
    times = tf.concat(
        [
            tf.fill(rows[tf.newaxis], float(sampling.in_batch)),
            tf.ones((num_drawn - rows)[tf.newaxis]),
        ],
        0,
    )
    copies = tf.math.unsorted_segment_sum(times, candidate_of[:num_drawn], num_columns)

    flat_history = tf.reshape(history, [-1])
    distinct, index = tf.unique(tf.concat([candidate_item, flat_history], 0), tf.int64)
    num_candidates = tf.shape(key, tf.int64)[0]
    candidate_index, history_index = index[:num_candidates], index[num_candidates:]

    by_user = tf.argsort(user_index, stable=True)
    rows_by_user = tf.RaggedTensor.from_row_lengths(
        tf.cast(by_user, tf.int64), rows_of_user, validate=False
    )
    others = tf.gather(rows_by_user, user_index)  # [B, rows of the row's user]
    # From the items of those rows to every candidate of the same item.
    columns_of_item = columns_by_item(candidate_index[:num_columns], distinct)
    item_of_row = tf.gather(candidate_index, candidate_of[:rows])
    liked = others.with_flat_values(tf.gather(item_of_row, others.flat_values))
    if sampling.mask_history:
        had = _had_before(batch, history_column, history_index)
        # Items came first among the distinct: most of what is in histories is no candidate.
        is_drawn = had.flat_values <= tf.reduce_max(candidate_index[:num_columns])
        liked = tf.concat([liked, tf.ragged.boolean_mask(had, had.with_flat_values(is_drawn))], 1)
    found = {
        "distinct_item": distinct,
        "history_index": tf.reshape(history_index, tf.shape(history)),
        "history_mask": history >= 0,
        "candidate_index": candidate_index,
        "candidate_item": candidate_item,
        "candidate_day": candidate_day,
        "candidate_copies": copies,
        "candidate_share": sampling.shares(candidate_item[:num_columns], day),
        "positive_index": candidate_of[:rows],
        "row_day": day,
        "masked": columns_of(liked.value_rowids(), liked.flat_values, columns_of_item),
        "user": user,
        "rows_of_user": tf.cast(tf.gather(rows_of_user, user_index), tf.float32),
        "weight": batch["weight"],
    }
    if sampling.mask_history and sampling.remembers:
        had_item = tf.gather(distinct, had.flat_values)
        found["had_before"] = tf.stack([had.value_rowids(), had_item], 1)
    if sampling.user_count is not None:
        found["user_share"] = sampling.user_count.lookup(batch[USER_ID]) / sampling.train_rows
    if sampling.impressed:
        column = tf.reshape(candidate_of[num_drawn:], tf.shape(shown, tf.int64))
        at = tf.where(is_negative)
        shown_index = tf.gather(candidate_index, tf.gather_nd(column, at))
        found["impressed_index"] = tf.where(is_negative, column, -1)
        found["impressed_masked"] = columns_of(at[:, 0], shown_index, columns_of_item)
    return found


def _uniform(day: tf.Tensor, sampling: Sampling, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Items that are candidates of the rows, and their days: int64 [U] twice.

    Each is as of the day of a random one of the rows on whose day it exists. Where it exists on
    none it is as of the last of their days, and no row's candidate (`trainer.negatives`).
    """
    seeds = tf.unstack(tf.random.split(tf.cast(draw, tf.int32), 2))
    if sampling.uniform is None:
        item = tf.range(1, sampling.num_known + 1, dtype=tf.int64)
    else:
        item = tf.random.stateless_uniform(
            [sampling.uniform], seeds[0], 1, sampling.num_known + 1, tf.int64
        )
    ascending = tf.sort(day)
    rows = tf.shape(day, tf.int64)[0]
    upload_day = tf.gather(tf.constant(sampling.upload_day), item)
    first = tf.searchsorted(ascending, upload_day, out_type=tf.int64)
    where = tf.random.stateless_uniform(tf.shape(item), seeds[1], dtype=tf.float64)
    row = first + tf.cast(where * tf.cast(rows - first, tf.float64), tf.int64)
    return item, tf.gather(ascending, tf.minimum(row, rows - 1))


def _liked(shown: tf.Tensor, positive: tf.Tensor, user_index: tf.Tensor) -> tf.Tensor:
    """Which of the items shown are positives of the row's user in this batch: bool [B, K]."""
    width = tf.maximum(tf.reduce_max(shown), tf.reduce_max(positive)) + 1
    liked = tf.sort(user_index * width + positive)
    asked = user_index[:, tf.newaxis] * width + tf.maximum(shown, 0)
    at = tf.searchsorted(liked, tf.reshape(asked, [-1]))
    found = tf.gather(liked, tf.minimum(at, tf.shape(liked)[0] - 1))
    return tf.reshape(found, tf.shape(asked)) == asked


def _had_before(batch: Mapping[str, tf.Tensor], column: str, index: tf.Tensor) -> tf.RaggedTensor:
    """Of histories' items, `index` flat, those in each row's: int64 [B, its length]."""
    history = batch[column]
    if SEQUENCE_ROWS not in batch:
        return tf.ragged.boolean_mask(tf.reshape(index, tf.shape(history)), history != PAD_ITEM)
    sequences, width = tf.unstack(tf.shape(history, tf.int64))
    first = width * tf.repeat(tf.range(sequences), batch[SEQUENCE_ROWS])
    # Of a sequence's history, padded at its end, as much as is before the row.
    before = tf.ragged.range(first, first + batch[column + END_SUFFIX])
    return before.with_flat_values(tf.gather(index, before.flat_values))


def columns_by_item(index: tf.Tensor, distinct: tf.Tensor) -> tf.RaggedTensor:
    """Which columns are of each item: ragged int64 [D, n].

    Args:
        index: int64 [N], the item of each column, into
        distinct: int64 [D], items.
    """
    by_item = tf.argsort(index, stable=True)
    return tf.RaggedTensor.from_value_rowids(
        tf.cast(by_item, tf.int64),
        tf.gather(index, by_item),
        nrows=tf.shape(distinct, tf.int64)[0],
        validate=False,
    )


def columns_of(row: tf.Tensor, item: tf.Tensor, columns_of_item: tf.RaggedTensor) -> tf.Tensor:
    """(row, column) for each column of each row's item: int64 [n] twice to int64 [pairs, 2]."""
    columns = tf.gather(columns_of_item, item)
    return tf.stack([tf.gather(row, columns.value_rowids()), columns.flat_values], 1)
