"""Several devices that train as one: who has which rows, and what they tell one another.

Every replica is given the whole batch, which is ids and counts, and embeds its own part of the
rows and of the candidates. Candidates' vectors are gathered from all, so that each row is told
apart from the same negatives as on one device: duplicates, masks and expected counts are those of
the whole batch. Outside of a strategy all of this is the identity.
"""

from collections.abc import Callable

import tensorflow as tf

from configs.errors import UserError
from configs.schema import Distribution


def make_strategy(distribution: Distribution) -> tf.distribute.Strategy:
    """The strategy of a config: over this process' devices, or over those of `TF_CONFIG`."""
    match distribution:
        case Distribution.NONE:
            return tf.distribute.get_strategy()
        case Distribution.MIRRORED:
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        case Distribution.MULTI_WORKER:
            return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes.

    The only one is, or else the cluster's chief, or where it names none its first worker.
    """
    cluster = strategy.cluster_resolver
    if cluster is None or not cluster.task_type:
        return True
    chief = "chief" if "chief" in cluster.cluster_spec().jobs else "worker"
    return (cluster.task_type, cluster.task_id) == (chief, 0)


def require_whole_shares(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raises `UserError` unless each replica has as many rows as the others."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"config.train.batch_size: found {batch_size}, expected a multiple of the {replicas} "
            "replicas"
        )


def own_rows(tensor: tf.Tensor) -> tf.Tensor:
    """This replica's part of a tensor [N, ...]: the N / replicas in its place.

    N is a multiple of the number of replicas.
    """
    replicas = tf.distribute.get_replica_context()
    if replicas.num_replicas_in_sync == 1:
        return tensor
    first, count = _place(tf.shape(tensor, tf.int64)[0])
    return tensor[first : first + count]


def own_pairs(pairs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Of (row, column), int64 [n, 2], those of this replica's rows, counted from its first.

    Args:
        pairs: of the whole batch.
        rows: int64 [], rows of the whole batch.
    """
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return pairs
    first, count = _place(rows)
    row = pairs[:, 0]
    mine = tf.boolean_mask(pairs, (row >= first) & (row < first + count))
    return mine - tf.stack([first, tf.zeros_like(first)])


def map_shared(
    function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, *, padded_to: int | None = None
) -> tf.Tensor:
    """Applies a function of rows, each replica to its part, and gathers what comes out.

    The gradient of what comes out is summed over the replicas that use it.

    Args:
        function: float32 [n, inputs] to float32 [n, dim], by rows.
        inputs: float32 [N, inputs].
        padded_to: rows that zeros are added up to first, so that n does not change from batch to
            batch; at least N.

    Returns:
        float32 [N, dim].
    """
    replicas = tf.distribute.get_replica_context()
    number = replicas.num_replicas_in_sync
    if number == 1 and padded_to is None:
        return function(inputs)
    count = tf.shape(inputs)[0]
    rows = count if padded_to is None else padded_to
    padded = tf.pad(inputs, [[0, rows + -rows % number - count], [0, 0]])
    found = function(own_rows(padded))
    return (found if number == 1 else replicas.all_gather(found, axis=0))[:count]


def update_each(variable: tf.Variable, update: Callable[..., object], *arguments: object) -> None:
    """Calls `update(variable, *arguments)`, for the copy of each replica if there are several."""
    tf.distribute.get_replica_context().merge_call(
        lambda strategy, *given: strategy.extended.update(variable, update, args=given),
        args=arguments,
    )


def _place(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First of this replica's rows, and how many: int64 [] each."""
    replicas = tf.distribute.get_replica_context()
    count = rows // replicas.num_replicas_in_sync
    return tf.cast(replicas.replica_id_in_sync_group, tf.int64) * count, count
