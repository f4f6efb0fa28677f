"""More weight for what users want first when they come back."""

from collections.abc import Mapping

import tensorflow as tf

from preprocessing.columns import END_SUFFIX, TIMESTAMP
from preprocessing.features import FeatureSpec
from trainer.records import SEQUENCE_ROWS


def with_session_starts(
    batch: Mapping[str, tf.Tensor], spec: FeatureSpec, share: float
) -> tf.Tensor:
    """Weights of which those of session starts make up a given share.

    A user's very first row starts no session: there is nothing to come back to.
    Within a session the next item follows from the last; a request after an absence, or one for the
    weeks ahead, has no such item, and is rare among rows.

    Args:
        batch: rows [B], or sequences with their rows.
        spec: whose history says which gap ends a session (`session_gap_sec`).
        share: of the batch's weight, in (0, 1); nothing changes where all rows are starts, or none.

    Returns:
        float32 [B], of the same sum as the batch's weights.
    """
    newest = _newest_time(batch, spec)
    is_start = (newest > 0) & (batch[TIMESTAMP] - newest > spec.sequence[1].session_gap_sec)
    weight = batch["weight"]
    start, rest = tf.where(is_start, weight, 0.0), tf.where(is_start, 0.0, weight)
    total, starts = tf.reduce_sum(weight), tf.reduce_sum(start)
    scaled = start * (share * total / starts) + rest * ((1 - share) * total / (total - starts))
    return tf.where(tf.reduce_any(is_start) & ~tf.reduce_all(is_start), scaled, weight)


def _newest_time(batch: Mapping[str, tf.Tensor], spec: FeatureSpec) -> tf.Tensor:
    """Time of the newest item that each row knows of, int64 [B]; 0 for none."""
    item, time = spec.history_columns
    if SEQUENCE_ROWS not in batch:
        return tf.reduce_max(batch[time], 1)
    rows, end = batch[SEQUENCE_ROWS], batch[item + END_SUFFIX]
    sequence = tf.repeat(tf.range(tf.size(rows, tf.int64)), rows)
    padded = tf.pad(batch[time], [[0, 0], [1, 0]])  # a row that knows of nothing reads the 0
    return tf.gather_nd(padded, tf.stack([sequence, end], 1))
