"""The tower that both sides share in form: a residual MLP beside a DCN-v2 cross network."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

from configs.schema import Model


class ResidualBlock(tf.keras.layers.Layer):
    """x + W2 relu(W1 norm(x)), a pre-norm residual block.

    Source: He et al., Identity Mappings in Deep Residual Networks (2016), with layer norm.
    """

    def __init__(self, width: int, dropout: float) -> None:
        """Keeps its input's width."""
        super().__init__()
        self.norm = tf.keras.layers.LayerNormalization()
        self.first = tf.keras.layers.Dense(width, activation="relu")
        self.second = tf.keras.layers.Dense(width, kernel_initializer="zeros")
        self.dropout = tf.keras.layers.Dropout(dropout)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 [N, width] to the same."""
        hidden = self.dropout(self.first(self.norm(inputs)), training=training)
        return inputs + self.second(hidden)


class Tower(tf.keras.layers.Layer):
    """Encoded features to a unit vector.

    A residual MLP and a cross network see the same input in parallel; what they give is
    concatenated and projected. The last block of the tower is linear, so that a vector of the
    input can pass unbent through the cross network's identity.

    Source: Wang et al., DCN V2 (2021), parallel structure (figure 1b) and equation 1.
    """

    def __init__(self, config: Model, *, name: str) -> None:
        """Sizes from the config."""
        super().__init__(name=name)
        rank = config.cross_rank or None
        self.project_in = tf.keras.layers.Dense(config.residual_width)
        self.blocks = [
            ResidualBlock(config.residual_width, config.dropout)
            for _ in range(config.residual_blocks)
        ]
        self.norm = tf.keras.layers.LayerNormalization()
        self.cross = [
            tfrs.layers.dcn.Cross(projection_dim=rank) for _ in range(config.cross_layers)
        ]
        self.project_out = tf.keras.layers.Dense(config.embedding_dim)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 [N, input_dim] to float32 [N, embedding_dim] of length 1."""
        residual = self.project_in(inputs)
        for block in self.blocks:
            residual = block(residual, training=training)
        crossed = inputs
        for layer in self.cross:
            crossed = layer(inputs, crossed)
        joined = tf.concat([self.norm(residual), crossed], -1)
        return tf.math.l2_normalize(self.project_out(joined), -1, epsilon=1e-12)
