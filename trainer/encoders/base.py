"""What all encoders have in common."""

import abc
from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf

from configs.kinds import Feature
from preprocessing.features import columns_of

Raw = Mapping[str, tf.Tensor]
LookedUp: TypeAlias = "tf.Tensor | tuple[tf.Tensor, ...]"


class Encoder(tf.keras.layers.Layer, abc.ABC):
    """Base of all kinds.

    Attributes:
        feature_name: the feature's name in the config.
        feature: its declaration.
    """

    def __init__(self, name: str, feature: Feature) -> None:
        """Remembers the declaration."""
        super().__init__(name=f"encode_{name}")
        self.feature_name = name
        self.feature = feature
        self.columns = tuple(c.name for c in columns_of(name, feature))

    @abc.abstractmethod
    def look_up(self, raw: Raw) -> LookedUp:
        """Raw columns [N, ...] by name to this feature's numbers [N, ...]."""

    @abc.abstractmethod
    def call(self, looked_up: LookedUp) -> tf.Tensor:
        """What `look_up` gave, [N, ...], to float32 [N, dim]."""
