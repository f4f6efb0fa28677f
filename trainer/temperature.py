"""What dot products are divided by."""

import math

import tensorflow as tf

from configs.schema import Model


class Temperature(tf.Module):
    """A fixed temperature, or one learnt within bounds.

    Learnt, it is the geometric mean of the bounds weighted by a sigmoid: it never leaves them, and
    its gradient never dies at one as a clipped value's does. Left free it can fall until one item
    takes all of the softmax.

    Source: learnt as in Radford et al., CLIP (2021), section 2.5, who clip the logarithm instead.
    """

    def __init__(self, config: Model) -> None:
        """Starts at `config.temperature`."""
        super().__init__(name="temperature")
        self._fixed = config.temperature
        self._raw: tf.Variable | None = None
        if config.learn_temperature:
            self._low, self._high = (math.log(bound) for bound in config.temperature_bounds)
            place = (math.log(config.temperature) - self._low) / (self._high - self._low)
            self._raw = tf.Variable(math.log(place / (1 - place)), name="temperature")

    def __call__(self) -> tf.Tensor:
        """The temperature: float32 []."""
        if self._raw is None:
            return tf.constant(self._fixed)
        return tf.exp(self._low + (self._high - self._low) * tf.sigmoid(self._raw))
