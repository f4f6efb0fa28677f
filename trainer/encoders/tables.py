"""Tables that encoders share the making of: embeddings, vocabularies, hashed ids."""

import tensorflow as tf

_EMBEDDING_STD = 0.05
_ROWS_AT_ONCE = 2**18


class EmbeddingTable(tf.Module):
    """Rows of an embedding, updated sparsely.

    Attributes:
        table: float32 [rows, dim].
    """

    def __init__(self, rows: int, dim: int, *, name: str, seed: int) -> None:
        """Normal initial values of standard deviation 0.05."""
        super().__init__(name=name)
        self.table = tf.Variable(tf.zeros([rows, dim]), name=f"{name}_table")
        # Drawn at once the table would be in memory three times, which TensorFlow keeps.
        for first in range(0, rows, _ROWS_AT_ONCE):
            row = tf.range(first, min(first + _ROWS_AT_ONCE, rows))
            drawn = tf.random.stateless_normal(
                [len(row), dim], [seed, rows + first], stddev=_EMBEDDING_STD
            )
            tf.distribute.get_strategy().extended.update(self.table, _put, args=(row, drawn))

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        """Rows of the table: int [...] to float32 [..., dim]."""
        return tf.gather(self.table, index)


def _put(table: tf.Variable, row: tf.Tensor, values: tf.Tensor) -> None:
    table.scatter_update(tf.IndexedSlices(values, row))


def hash_ids(ids: tf.Tensor, num_hashes: int, num_buckets: int) -> tf.Tensor:
    """Strings [...] to buckets int64 [..., hashes]."""
    hashes = [
        tf.strings.to_hash_bucket_strong(ids, num_buckets, [salt, 0x5EED])
        for salt in range(num_hashes)
    ]
    return tf.stack(hashes, -1)


def vocabulary_table(values: list[str]) -> tf.lookup.StaticHashTable:
    """Values to ids from 1; anything else, '' too, to 0."""
    # An empty initializer is refused: the empty string stands for itself, at 0.
    keys = tf.constant(["", *values], tf.string)
    ids = tf.range(len(values) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), 0)
