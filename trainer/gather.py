"""Reading a computed tensor by row many times over, at the cost of what is read."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a table that are named, not copied out: [N, L] of them.

    Of histories only the means are wanted; copied out first they are the most memory that a
    training step touches, padding included.

    Attributes:
        table: float32 [rows, dim].
        index: int64 [N, L].
    """

    table: tf.Tensor
    index: tf.Tensor

    def gathered(self) -> tf.Tensor:
        """The rows themselves: float32 [N, L, dim]."""
        return gather_rows(self.table, self.index)

    def means(self, inside: tf.Tensor) -> tf.Tensor:
        """Means of some of each line's rows: bool [N, M, L] to float32 [N, M, dim].

        Zeros where nothing is inside.
        """
        lines, sets = tf.shape(inside, tf.int64)[0], inside.shape[1]
        segment, row = members(self.index, inside)
        means = _segment_means(self.table, row, segment, lines * sets)
        return tf.reshape(means, [-1, sets, self.table.shape[-1]])


def members(values: tf.Tensor, inside: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What is inside of which set, set after set.

    Args:
        values: int64 [N, L].
        inside: bool [N, M, L].

    Returns:
        int64 [n] twice: sets, below N * M, ascending; and values.
    """
    at = tf.where(inside)
    value = tf.gather_nd(values, tf.stack([at[:, 0], at[:, 2]], 1))
    return at[:, 0] * inside.shape[1] + at[:, 1], value


def gather_rows(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """As `tf.gather`, but the gradient is summed by row at once.

    `tf.gather` hands back slices, which each operation before it takes apart column by column and
    sums on its own, one for each feature that a row is made of.

    Args:
        table: float32 [rows, dim], no variable: a variable's gradient should stay sparse.
        index: int64 [...], rows.

    Returns:
        float32 [..., dim].
    """

    @tf.custom_gradient
    def gathered(table: tf.Tensor) -> tuple[tf.Tensor, object]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(upstream, [-1, table.shape[-1]])
            rows = tf.shape(table)[0]
            return tf.math.unsorted_segment_sum(flat, tf.reshape(index, [-1]), rows)

        return tf.gather(table, index), gradient

    return gathered(table)


def _segment_means(
    table: tf.Tensor, row: tf.Tensor, segment: tf.Tensor, num_segments: tf.Tensor
) -> tf.Tensor:
    """Mean of the rows of each segment: int64 [n] twice, segments ascending, to [segments, dim].

    The gradient is the same operation the other way round, from segments to rows, once what is to
    be added up is in the order of rows.
    """

    @tf.custom_gradient
    def means(table: tf.Tensor) -> tuple[tf.Tensor, object]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            count = tf.math.unsorted_segment_sum(tf.ones_like(segment), segment, num_segments)
            share = tf.math.reciprocal_no_nan(tf.cast(count, upstream.dtype))
            order = tf.argsort(row)
            return tf.sparse.segment_sum(
                upstream * share[:, tf.newaxis],
                tf.gather(segment, order),
                tf.gather(row, order),
                num_segments=tf.shape(table, tf.int64)[0],
            )

        return tf.sparse.segment_mean(table, row, segment, num_segments=num_segments), gradient

    return means(table)
