"""How many items of the catalog a sampled candidate stands for."""

from dataclasses import dataclass

import tensorflow as tf

from configs.schema import Correction
from trainer.losses.base import MASKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How a batch's candidates came about: N columns, several of which may be one item's.

    Attributes:
        copies: float32 [N], times that each column was drawn; 0 for one that never was.
        share: float32 [N], q_j: share of train rows with the column's item as the positive.
        rows: float32 [], rows whose positives serve as negatives: the batch's and the memory's.
        own_rows: float32 [B], those among them that are of row i's own user, and are masked.
        uniform: N_u, items drawn uniformly.
        num_items: M, out of so many.
        since: int64 [N], the first day on which each column's item exists; None: all always did.
        day: int64 [B], of each row; given with `since`.
    """

    copies: tf.Tensor
    share: tf.Tensor
    rows: tf.Tensor
    own_rows: tf.Tensor
    uniform: int
    num_items: int
    since: tf.Tensor | None = None
    day: tf.Tensor | None = None


def log_weights(
    drawn: Drawn, correction: Correction, *, copies_of_item: tf.Tensor | None = None
) -> tf.Tensor:
    """Log of each column's copies over how often its item was expected, for each row.

    `expected_count`: n_ij = (R - r_i) q_j + N_u / M with duplicates kept, where R are the rows
    whose positives serve as negatives and r_i those of row i's user; without duplicates the
    probability of being drawn at all, 1 - (1 - q_j)^(R - r_i) (1 - 1 / M)^N_u. `logq`: the same
    with r_i = 0, for every row alike. `none`: 1.

    Args:
        drawn: the candidates.
        correction: which.
        copies_of_item: float32 [N], copies of the column's item over all columns; given, duplicates
            count once and the item's columns share its weight by their copies.

    Returns:
        float32 [B, N]; `MASKED` for columns that were never drawn or do not exist on a row's day.

    Source: importance sampling of the normaliser, Bengio and Senecal (2003); `logq` is Yi et al.,
        Sampling-Bias-Corrected Neural Modeling (RecSys 2019), section 3, over the mix of negatives.
    """
    # Few distinct numbers of own rows: a table and a gather beat B * N logarithms.
    distinct, row = tf.unique(drawn.own_rows)
    if correction is not Correction.EXPECTED_COUNT:
        distinct, row = tf.zeros([1]), tf.zeros_like(row)
    of_copies = tf.math.log(drawn.copies)
    if copies_of_item is not None:
        of_copies -= tf.math.log(copies_of_item)
    if correction is Correction.NONE:
        table = of_copies[tf.newaxis]
    else:
        others = (drawn.rows - distinct)[:, tf.newaxis]
        table = of_copies - log_expected(
            drawn, others, drawn.share, with_duplicates=copies_of_item is None
        )
    table = tf.where(drawn.copies > 0, table, MASKED)
    if drawn.since is not None:
        days, day_of_row = tf.unique(drawn.day)
        # Rows alike in both share a row of the table.
        number = tf.size(days)
        alike, row = tf.unique(row * number + day_of_row)
        is_later = drawn.since > tf.gather(days, alike % number)[:, tf.newaxis]
        table = tf.where(is_later, MASKED, tf.gather(table, alike // number))
    return tf.gather(table, row)


def log_expected(
    drawn: Drawn, others: tf.Tensor, share: tf.Tensor, *, with_duplicates: bool
) -> tf.Tensor:
    """Log n: how often items of these shares are expected among `others` rows and the uniform.

    Args:
        drawn: for N_u and M.
        others: float32, rows that may hold the item; broadcast against `share`.
        share: float32, q_j.
        with_duplicates: a count; else a probability.
    """
    if with_duplicates:
        return tf.math.log(others * share + drawn.uniform / drawn.num_items)
    # log1p and expm1: the probabilities are small, 1 - (1 - p) would lose their digits.
    # No others and the only item: nothing times log 0 is nothing.
    never = tf.math.multiply_no_nan(tf.math.log1p(-share), others)
    if drawn.uniform:
        # A catalog of one item is drawn for sure.
        never += drawn.uniform * tf.math.log1p(-1.0 / drawn.num_items)
    return tf.math.log(-tf.math.expm1(never))
