"""Floating-point operations of a graph's matrix products, and the rate of a large one."""

import tensorflow as tf

_SIZE = 2_048


def matmul_flops(graph: tf.Graph) -> int:
    """Multiplications and additions of every matrix product of a graph, forward and backward.

    Nothing else is counted, so what is done beside products only costs time.

    Args:
        graph: whose shapes are known; of a concrete function traced with them.
    """
    total = 0
    for operation in graph.get_operations():
        if operation.type not in ("MatMul", "BatchMatMul", "BatchMatMulV2"):
            continue
        flipped = "transpose_a" if operation.type == "MatMul" else "adj_x"
        left = operation.inputs[0].shape
        inner = left[-2] if operation.get_attr(flipped) else left[-1]
        total += 2 * inner * operation.outputs[0].shape.num_elements()
    return total


class LargeMatmul:
    """The product of two square matrices, what the machine does best."""

    flops = 2 * _SIZE**3

    def __init__(self, dtype: tf.DType) -> None:
        """Of numbers of this type."""
        matrix = tf.cast(tf.random.normal([_SIZE, _SIZE]), dtype)
        self._multiply = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])

    def __call__(self) -> None:
        """Multiplies, and waits for the result."""
        self._multiply().numpy()
