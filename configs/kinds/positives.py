"""Kinds that are made of a user's positives."""

from dataclasses import dataclass

from configs.checks import free, require
from configs.kinds.base import Entity, Feature, Freshness


@dataclass(slots=True, kw_only=True)
class Distribution(Feature):
    """Shares of the user's positives over the values of an item feature.

    A request carries keys and counts; the graph divides. Over a vocabulary each value is an input
    of its own; over hashed ids, which are too many, their embeddings are averaged by share.

    Attributes:
        of: name of the item feature, a `Vocabulary`, `OneHot` or `HashedId`, whose values are
            counted.
        max_keys: the most frequent so many are kept, ties by key.
        dim: of the embeddings that stand for hashed ids; hashes and buckets are as in `of`.
    """

    freshness: Freshness = Freshness.EVENT
    of: str = ""
    max_keys: int = 32
    dim: int = free(16)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_keys > 0, f"features.{name}.max_keys", self.max_keys, "at least 1")
        require(self.dim > 0, f"features.{name}.dim", self.dim, "at least 1")


@dataclass(slots=True, kw_only=True)
class Causal:
    """A causal transformer over a history (docs/architecture.md).

    Attributes:
        width: of its vectors.
        blocks: attention and feed-forward layers, one after the other.
        heads: of attention; they share the width.
        dropout: share of units dropped in training, of its input and of each layer's output.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2

    def validate(self, path: str) -> None:
        """Raises `UserError` naming the field that is wrong, below `config.` and `path`."""
        require(self.blocks > 0, f"{path}.blocks", self.blocks, "at least 1")
        require(self.heads > 0, f"{path}.heads", self.heads, "at least 1")
        require(
            self.width > 0 and self.width % self.heads == 0,
            f"{path}.width",
            self.width,
            f"a multiple of {self.heads}, the heads",
        )
        require(0.0 <= self.dropout < 1.0, f"{path}.dropout", self.dropout, "a share in [0, 1)")


@dataclass(slots=True, kw_only=True)
class Sequence(Feature):
    """The user's last positives with their times, oldest first, as means and by a transformer.

    Attributes:
        max_length: how many a row or a request holds.
        windows: one mean for each, over the last so many items; none only where the transformer
            is alone, and then no session, age or half-lives either.
        causal: a transformer over all items, beside the means or alone; None: means alone.
        session_length: one more mean, over the last so many items of the session; 0: none.
        session_gap_sec: a session is what no longer time than this lies between, up to the request.
        age_dim: width of an embedding of each item's age at the request, on a logarithmic scale,
            that is pooled beside the item; 0: none.
        half_lives_days: one mean for each, over all items; an item so many days older than the
            newest weighs half as much.
    """

    freshness: Freshness = Freshness.EVENT
    max_length: int = 50
    windows: tuple[int, ...] = free((50, 10, 3, 1))
    session_length: int = free(0)
    session_gap_sec: int = free(1_800)
    age_dim: int = free(0)
    half_lives_days: tuple[float, ...] = free(())
    causal: Causal | None = free(None)

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_length > 0, f"features.{name}.max_length", self.max_length, "at least 1")
        path = f"features.{name}"
        beside = self.session_length or self.age_dim or self.half_lives_days
        require(
            (bool(self.windows) or (self.causal is not None and not beside))
            and all(0 < w <= self.max_length for w in self.windows),
            f"{path}.windows",
            self.windows,
            f"numbers in 1..{self.max_length}; none only for a causal encoder alone",
        )
        if self.causal is not None:
            self.causal.validate(f"{path}.causal")
        length, gap = self.session_length, self.session_gap_sec
        wanted = f"0..{self.max_length}"
        require(0 <= length <= self.max_length, f"{path}.session_length", length, wanted)
        require(gap > 0, f"{path}.session_gap_sec", gap, "at least 1")
        require(self.age_dim >= 0, f"{path}.age_dim", self.age_dim, "0 or more")
        require(
            all(days > 0 for days in self.half_lives_days),
            f"features.{name}.half_lives_days",
            self.half_lives_days,
            "positive numbers",
        )
