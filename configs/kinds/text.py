"""Texts, and the frozen encoders that read them."""

import enum
from dataclasses import dataclass

from configs.checks import free, require
from configs.kinds.base import Entity, Feature, Freshness


class TextEncoder(enum.Enum):
    """What turns a text into a vector; `preprocessing.text` has them."""

    HASHING = "hashing"  # n-grams into buckets; needs nothing installed
    MINILM = "minilm"  # a sentence encoder; needs the extra `text`


@dataclass(slots=True, kw_only=True)
class Text(Feature):
    """A text of an item, embedded by a frozen encoder when the dataset is made, then projected.

    Attributes:
        encoder: which one.
        dim: of the learned projection.
    """

    entity: Entity = Entity.ITEM
    encoder: TextEncoder = TextEncoder.HASHING
    dim: int = free(128)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        path = f"features.{name}"
        require(self.entity is Entity.ITEM, f"{path}.entity", self.entity.value, "item")
        require(
            self.freshness is Freshness.REQUEST,
            f"{path}.freshness",
            self.freshness.value,
            "request: a text does not change by day",
        )
        require(self.dim > 0, f"{path}.dim", self.dim, "at least 1")
