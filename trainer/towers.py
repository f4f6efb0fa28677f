"""The tower that both sides share in form: a residual MLP beside a DCN-v2 cross network."""

import functools
from typing import Any, TypeAlias

import tensorflow as tf

from configs.schema import Model, Precision

Policy: TypeAlias = Any  # tf.keras.mixed_precision.Policy, which has no types


class ResidualBlock(tf.keras.layers.Layer):
    """x + W2 relu(W1 norm(x)), a pre-norm residual block.

    Source: He et al., Identity Mappings in Deep Residual Networks (2016), with layer norm.
    """

    def __init__(self, width: int, dropout: float, *, dtype: Policy) -> None:
        """Keeps its input's width."""
        super().__init__(dtype=dtype)
        self.norm = tf.keras.layers.LayerNormalization(dtype=dtype)
        self.first = tf.keras.layers.Dense(width, activation="relu", dtype=dtype)
        self.second = tf.keras.layers.Dense(width, kernel_initializer="zeros", dtype=dtype)
        self.dropout = tf.keras.layers.Dropout(dropout, dtype=dtype)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 [N, width] to the same."""
        hidden = self.dropout(self.first(self.norm(inputs)), training=training)
        return inputs + self.second(hidden)


class Cross(tf.keras.layers.Layer):
    """x0 * (W x + b) + x, W of full rank or the product of two thin matrices.

    As `tfrs.layers.dcn.Cross`, whose matrices stay in float32 whatever the policy.

    Source: Wang et al., DCN V2 (2021), equations 1 and 2.
    """

    def __init__(self, width: int, rank: int, *, dtype: Policy) -> None:
        """Of inputs `width` wide; rank 0 is full rank."""
        super().__init__(dtype=dtype)
        self.down = (
            tf.keras.layers.Dense(
                rank, use_bias=False, kernel_initializer="truncated_normal", dtype=dtype
            )
            if rank
            else None
        )
        self.up = tf.keras.layers.Dense(width, kernel_initializer="truncated_normal", dtype=dtype)

    def call(self, first: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """X0 and x, [N, width] both, to the same."""
        return first * self.up(inputs if self.down is None else self.down(inputs)) + inputs


class Tower(tf.keras.layers.Layer):
    """Encoded features to a unit vector.

    A residual MLP and a cross network see the same input in parallel; what they give is
    concatenated and projected. The last block of the tower is linear, so that a vector of the
    input can pass unbent through the cross network's identity. A residual width of 0 leaves the
    cross network alone; with no cross layers its identity stays.

    Source: Wang et al., DCN V2 (2021), parallel structure (figure 1b) and equation 1.
    """

    def __init__(
        self,
        config: Model,
        *,
        name: str,
        precision: Precision = Precision.FLOAT32,
        jit_compile: bool = False,
    ) -> None:
        """Takes its sizes.

        Args:
            config: sizes.
            name: of the layer.
            precision: of what is computed between input and output; weights are float32.
            jit_compile: compile calls in training by XLA, once for each number of rows.
        """
        dtype = tf.keras.mixed_precision.Policy(precision.value)
        super().__init__(name=name, dtype=dtype)
        self.config = config
        if config.residual_width:
            self.project_in = tf.keras.layers.Dense(config.residual_width, dtype=dtype)
            self.blocks = [
                ResidualBlock(config.residual_width, config.dropout, dtype=dtype)
                for _ in range(config.residual_blocks)
            ]
            self.norm = tf.keras.layers.LayerNormalization(dtype=dtype)
        self.project_out = tf.keras.layers.Dense(config.embedding_dim, dtype=dtype)
        self._compiled = (
            tf.function(functools.partial(self._embed, training=True), jit_compile=True)
            if jit_compile
            else None
        )

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the cross layers, which are as wide as the input."""
        self.cross = [
            Cross(input_shape[-1], self.config.cross_rank, dtype=self.dtype_policy)
            for _ in range(self.config.cross_layers)
        ]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 [N, input_dim] to float32 [N, embedding_dim] of length 1."""
        if training and self._compiled is not None:
            return self._compiled(inputs)
        return self._embed(inputs, training=training)

    def _embed(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        parts = []
        if self.config.residual_width:
            residual = self.project_in(inputs)
            for block in self.blocks:
                residual = block(residual, training=training)
            parts.append(self.norm(residual))
        crossed = inputs
        for layer in self.cross:
            crossed = layer(inputs, crossed)
        joined = tf.concat([*parts, crossed], -1)
        vectors = tf.cast(self.project_out(joined), tf.float32)
        return tf.math.l2_normalize(vectors, -1, epsilon=1e-12)
