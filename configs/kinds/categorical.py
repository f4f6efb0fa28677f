"""Kinds whose values are names: ids, categories, tags."""

from dataclasses import dataclass

from configs.checks import free, require
from configs.kinds.base import Feature


@dataclass(slots=True, kw_only=True)
class HashedId(Feature):
    """Several salted hashes of an id into one fixed table, averaged; needs no vocabulary.

    Attributes:
        num_hashes: of an id; two ids share all of them rarely.
        num_buckets: rows of the table.
        dim: of the embedding.
    """

    num_hashes: int = free(2)
    num_buckets: int = free(100_000)
    dim: int = free(32)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        for part in ("num_hashes", "num_buckets", "dim"):
            value = getattr(self, part)
            require(value > 0, f"features.{name}.{part}", value, "a positive number")


@dataclass(slots=True, kw_only=True)
class Vocabulary(Feature):
    """A vocabulary from train data, most frequent first; id 0 is what it does not hold.

    The feature named `item_id` is the item vocabulary: the catalog's own ids (docs/dataset.md).

    Attributes:
        max_size: the most frequent so many values.
        dim: of the embedding.
    """

    max_size: int = 10_000_000
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        require(self.max_size > 0, f"features.{name}.max_size", self.max_size, "at least 1")
        require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class OneHot(Feature):
    """A vocabulary of a few values, each an input of its own; slot 0 is any other value.

    Attributes:
        max_size: the most frequent so many values.
    """

    max_size: int = 8


@dataclass(slots=True, kw_only=True)
class Bag(Feature):
    """Several values at once, such as tags: the mean of their embeddings.

    Attributes:
        max_size: of the vocabulary, which is made like that of `Vocabulary`.
        max_length: the first so many values are kept.
        dim: of the embeddings.
    """

    max_size: int = 10_000
    max_length: int = 16
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        Feature.validate(self, name)
        for part in ("max_size", "max_length", "dim"):
            value = getattr(self, part)
            require(value > 0, f"features.{name}.{part}", value, "at least 1")
