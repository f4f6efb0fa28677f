"""In which order the rows of a pool become batches: at random, or batches of rows near in time."""

import tensorflow as tf

from preprocessing.columns import SECONDS_PER_DAY


def order_of_rows(
    time: tf.Tensor, *, seed: tf.Tensor, batch_size: int, batch_days: float
) -> tf.Tensor:
    """An order of a pool's rows that is cut into batches from its start.

    Negatives are other rows' positives and items as of other rows' days. In a batch of all days
    they tell a row's positive by its day; in one of a few days they stand beside it as they do in a
    request, where all items have the same day.

    Args:
        time: int64 [N], UTC seconds of the rows.
        seed: int64 [2].
        batch_size: rows of a batch.
        batch_days: rows are sorted by time, each moved by up to so many days at random; batches of
            neighbours then come in any order, and what fills none is last, whatever its time.
            0: rows come in any order.

    Returns:
        int32 [N], row numbers.
    """
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 3))
    count = tf.shape(time)[0]
    if not batch_days:
        return tf.argsort(tf.random.stateless_uniform([count], seeds[0]))
    moved = tf.random.stateless_uniform([count], seeds[0], dtype=tf.float64)
    moved *= batch_days * SECONDS_PER_DAY
    order = tf.argsort(tf.cast(time, tf.float64) + moved)
    batches = count // batch_size
    rest = count - batches * batch_size
    first = batch_size * tf.random.stateless_uniform([], seeds[1], 0, batches + 1, tf.int32)
    whole = tf.concat([order[:first], order[first + rest :]], 0)
    shuffled = tf.argsort(tf.random.stateless_uniform([batches], seeds[2]))
    by_batch = tf.gather(tf.reshape(whole, [batches, batch_size]), shuffled)
    return tf.concat([tf.reshape(by_batch, [-1]), order[first : first + rest]], 0)
