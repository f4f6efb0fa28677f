"""Sampled softmax with bias correction."""

import tensorflow as tf

from configs.schema import Correction

_MASKED = -1e30
"""A logit that no softmax in float32 notices, far from its overflow."""


def log_expected_count(
    share: tf.Tensor,
    rows_of_user: tf.Tensor,
    *,
    batch_rows: int,
    uniform: int,
    num_items: int,
) -> tf.Tensor:
    """Log of how often each candidate is expected among the unmasked negatives of each row.

    n_ij = (B - b_i) * q_j + N_u / M, duplicates kept: of the B rows of the batch, the b_i of row
    i's own user are masked, and each of the others holds item j with probability q_j.

    Args:
        share: float32 [C], q_j, each candidate's share of train rows.
        rows_of_user: float32 [B], b_i.
        batch_rows: B.
        uniform: N_u, items drawn uniformly.
        num_items: M, out of so many.

    Returns:
        float32 [B, C]. A candidate that cannot be drawn has -inf; it never is one.
    """
    distinct, row = tf.unique(rows_of_user)  # few: a table and a gather beat B * C logarithms
    count = (batch_rows - distinct)[:, tf.newaxis] * share + uniform / num_items
    return tf.gather(tf.math.log(count), row)


def sampled_softmax(
    logits: tf.Tensor,
    *,
    positive_index: tf.Tensor,
    masked: tf.Tensor,
    copies: tf.Tensor,
    share: tf.Tensor,
    rows_of_user: tf.Tensor,
    uniform: int,
    num_items: int,
    correction: Correction,
) -> tf.Tensor:
    """Cross-entropy of each row's positive against the batch's other candidates.

    Candidates are distinct; `copies` says how often each was drawn, and its logit grows by the
    log of it, which equals keeping the duplicates. With `expected_count` the positive's logit
    stays as it is and each negative's falls by log n_ij, so that the sum over negatives is an
    unbiased estimate of the full softmax's normaliser. `logq` subtracts the log of the sampling
    probability from every logit, the positive's too.

    Args:
        logits: float32 [B, C], row by candidate, already divided by the temperature.
        positive_index: int64 [B], the column of each row's positive.
        masked: int64 [pairs, 2], (row, column) of what is no negative: all candidates of the
            items of the row's user, the positive's own among them.
        copies: float32 [C], times that each candidate was drawn.
        share: float32 [C], share of train rows with the candidate's item as the positive.
        rows_of_user: float32 [B], rows of the batch with the same user.
        uniform: uniform negatives in the batch.
        num_items: the catalog that they were drawn from.
        correction: how to make up for popular items being drawn more often.

    Returns:
        float32 [B].

    Source: importance sampling of the normaliser, Bengio and Senecal (2003); `logq` is Yi et al.,
        Sampling-Bias-Corrected Neural Modeling (RecSys 2019), section 3 equation 3, over the
        mixture of in-batch and uniform negatives.
    """
    logits = tf.cast(logits, tf.float32)
    shape = tf.shape(logits, tf.int64)
    rows = tf.range(shape[0])
    batch_rows = tf.cast(shape[0], tf.float32)
    at_positive = tf.stack([rows, positive_index], 1)
    positive = tf.gather_nd(logits, at_positive)
    negatives = logits + tf.math.log(copies)
    if correction is Correction.EXPECTED_COUNT:
        negatives -= log_expected_count(
            share,
            rows_of_user,
            batch_rows=batch_rows,
            uniform=uniform,
            num_items=num_items,
        )
    elif correction is Correction.LOGQ:
        drawn = tf.math.log(batch_rows * share + uniform / num_items)
        negatives -= drawn
        positive -= tf.gather(drawn, positive_index)
    hidden = tf.scatter_nd(masked, tf.ones(tf.shape(masked)[:1]), shape) > 0
    negatives = tf.where(hidden, _MASKED, negatives)
    # The positive's own column is masked: its place takes the positive's logit.
    negatives = tf.tensor_scatter_nd_update(negatives, at_positive, positive)
    return tf.reduce_logsumexp(negatives, 1) - positive
