"""Encoders of what a text says."""

import tensorflow as tf

from configs.kinds import Text
from trainer.encoders.base import Encoder, Raw


class TextEncoder(Encoder):
    """A learned projection of a frozen encoder's vector; zeros stay zeros."""

    def __init__(self, name: str, feature: Text) -> None:
        """Width from the feature."""
        super().__init__(name, feature)
        self.project = tf.keras.layers.Dense(feature.dim, use_bias=False)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N, TEXT_LENGTH], unchanged."""
        return raw[self.columns[0]]

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, TEXT_LENGTH] to float32 [N, dim]."""
        return self.project(looked_up)
