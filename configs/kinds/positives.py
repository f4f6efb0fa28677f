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
class Sequence(Feature):
    """The user's last positives with their times, oldest first, pooled into means.

    Attributes:
        max_length: how many a row or a request holds.
        windows: one mean for each, over the last so many items.
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

    def validate(self, name: str) -> None:
        """Raises `UserError` naming the field that is wrong."""
        require(self.entity is Entity.USER, f"features.{name}.entity", self.entity.value, "user")
        require(self.max_length > 0, f"features.{name}.max_length", self.max_length, "at least 1")
        require(
            bool(self.windows) and all(0 < w <= self.max_length for w in self.windows),
            f"features.{name}.windows",
            self.windows,
            f"numbers in 1..{self.max_length}",
        )
        path = f"features.{name}"
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
