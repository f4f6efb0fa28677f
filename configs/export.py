"""The exported model: its index, its lists, and what refuses it."""

import enum
from dataclasses import dataclass

from configs.checks import require, require_not_negative, require_positive, require_share


class Index(enum.Enum):
    """How the exported model searches the catalog."""

    AUTO = "auto"  # by catalog size
    EXACT = "exact"
    AH = "ah"  # ScaNN scoring with asymmetric hashing, then exact reordering
    PARTITIONED = "partitioned"  # the same within the nearest of about sqrt(n) partitions


@dataclass(slots=True, kw_only=True)
class Export:
    """The exported model.

    Attributes:
        k: length of every list.
        index: kind of index.
        exact_below: catalogs smaller than this are searched exactly.
        partition_from: catalogs of this size or more are partitioned.
        recall_target: recall@k against exact search that the index is tuned to reach.
        exclude_history: leave the items of the request's own history out of its list.
        popularity_weight: α of a user without a history in score = (1 - α)·dot/τ + α·log
            popularity, in [0, 1).
        popularity_half_life: known history items that halve α.
        popularity_days: popularity counts the positives of the log's last so many days; 0: all.
        rebuild_share: a version says that a rebuild is due once so large a share of its items is
            fresh or removed.
        quality_margin: a version is refused whose recall is by more than this share below that of
            the version that is live.
        max_latency_ms: a version is refused that takes longer for one request, in the median.
    """

    k: int = 100
    index: Index = Index.AUTO
    exact_below: int = 20_000
    partition_from: int = 100_000
    recall_target: float = 0.95
    exclude_history: bool = True
    # Chosen on the validation split of the simulated log (docs/export.md).
    popularity_weight: float = 0.5
    popularity_half_life: float = 1.0
    popularity_days: int = 7
    rebuild_share: float = 0.1
    quality_margin: float = 0.1
    max_latency_ms: float = 100.0

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        require_positive(
            self, "export", "k", "popularity_half_life", "rebuild_share", "max_latency_ms"
        )
        require_not_negative(self, "export", "popularity_days", "exact_below", "partition_from")
        require(
            0.0 < self.recall_target <= 1.0,
            "export.recall_target",
            self.recall_target,
            "a share in (0, 1]",
        )
        require_share(self, "export", "popularity_weight", "quality_margin")
