"""What the baselines of an evaluation are made with."""

import enum
from dataclasses import dataclass, field, fields

from configs.checks import choices, require


class BaselineKind(enum.Enum):
    """A baseline, by the name that reports use (docs/evaluation.md)."""

    POPULARITY = "popularity"
    RECENT_POPULARITY = "recent popularity"
    OWN_ITEMS = "own items"
    LAST_ITEMS = "last items"
    ITEM_KNN = "item-kNN"
    EASE = "EASE"
    EASE_FACTORED = "EASE factored"
    IALS = "iALS"
    BPR = "BPR"


@dataclass(slots=True, kw_only=True)
class PopularityParameters:
    """Popularity has none."""


@dataclass(slots=True, kw_only=True)
class RecentPopularityParameters:
    """Popularity of late.

    Attributes:
        days: how many days before the split count.
    """

    days: float = 7.0


@dataclass(slots=True, kw_only=True)
class OwnItemsParameters:
    """The user's own most frequent items; only where seen items may be recommended.

    Attributes:
        half_life_days: a positive so many days older than the history's newest counts half.
    """

    half_life_days: float = 60.0


@dataclass(slots=True, kw_only=True)
class LastItemsParameters:
    """Transition counts from the last items. The defaults were chosen on MovieLens-1M.

    Attributes:
        last: how many of the last items of the history count.
        window: how many following positives count as going on to.
        source_exponent: how far the popularity of a history item damps its vote, in [0, 1].
        target_exponent: how far the popularity of an item damps its score, in [0, 1].
    """

    last: int = 8
    window: int = 8
    source_exponent: float = 0.75
    target_exponent: float = 0.25


@dataclass(slots=True, kw_only=True)
class ItemKnnParameters:
    """Cosine of co-occurrence. The defaults were chosen on the simulated short-video log.

    Attributes:
        neighbours: how many of each item are kept.
        shrinkage: damps what few users support; 0 or more.
    """

    neighbours: int = 200
    shrinkage: float = 20.0


@dataclass(slots=True, kw_only=True)
class EaseParameters:
    """EASE.

    Attributes:
        regularization: its lambda.
        max_items: it sees the most popular so many, or all items if no more users have any, since
            its cost is cubic in the lesser of the two.
    """

    regularization: float = 300.0
    max_items: int = 5_000


@dataclass(slots=True, kw_only=True)
class EaseFactoredParameters:
    """EASE cut to what a two-tower model of the same width can say.

    Attributes:
        regularization: EASE's lambda.
        max_items: as of EASE.
        dim: width of the vectors, the one of recent popularity included; at least 2.
        popularity_weight: of the square root of recent popularity, whose largest value is 1.
        days: how many days before the split are recent.
    """

    regularization: float = 300.0
    max_items: int = 5_000
    dim: int = 128
    popularity_weight: float = 0.3
    days: float = 7.0


@dataclass(slots=True, kw_only=True)
class IalsParameters:
    """Implicit alternating least squares. The defaults serve ratings and short videos alike.

    Attributes:
        factors: width of the vectors.
        regularization: of the squared norms.
        alpha: weight of a positive, where every other pair of user and item weighs 1.
        iterations: rounds over users and items.
        seed: of the first vectors.
    """

    factors: int = 128
    regularization: float = 100.0
    alpha: float = 20.0
    iterations: int = 15
    seed: int = 17


@dataclass(slots=True, kw_only=True)
class BprParameters:
    """Bayesian personalised ranking.

    Attributes:
        factors: width of the vectors.
        regularization: of the squared norms.
        learning_rate: of the gradient steps.
        iterations: passes over the positives.
        seed: of the first vectors and of the negatives.
    """

    factors: int = 64
    regularization: float = 0.01
    learning_rate: float = 0.05
    iterations: int = 100
    seed: int = 17


_AT_LEAST_ZERO = {"shrinkage", "popularity_weight", "seed"}
_SHARES = {"source_exponent", "target_exponent"}


@dataclass(slots=True, kw_only=True)
class Baselines:
    """Which baselines an evaluation runs, and with what.

    Attributes:
        kinds: which run; own items only where eval.exclude_seen is false.
        popularity: without parameters.
        recent_popularity: its days.
        own_items: its half-life.
        last_items: its windows and exponents.
        item_knn: its neighbours.
        ease: its lambda.
        ease_factored: its width and lambda.
        ials: its size and weights.
        bpr: its size and steps.
    """

    kinds: tuple[BaselineKind, ...] = tuple(BaselineKind)
    popularity: PopularityParameters = field(default_factory=PopularityParameters)
    recent_popularity: RecentPopularityParameters = field(
        default_factory=RecentPopularityParameters
    )
    own_items: OwnItemsParameters = field(default_factory=OwnItemsParameters)
    last_items: LastItemsParameters = field(default_factory=LastItemsParameters)
    item_knn: ItemKnnParameters = field(default_factory=ItemKnnParameters)
    ease: EaseParameters = field(default_factory=EaseParameters)
    ease_factored: EaseFactoredParameters = field(default_factory=EaseFactoredParameters)
    ials: IalsParameters = field(default_factory=IalsParameters)
    bpr: BprParameters = field(default_factory=BprParameters)

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        self.kinds = choices(BaselineKind, self.kinds, "eval.baselines.kinds")
        for kind in BaselineKind:
            parameters = getattr(self, kind.name.lower())
            for each in fields(parameters):
                value = getattr(parameters, each.name)
                path = f"eval.baselines.{kind.name.lower()}.{each.name}"
                if each.name in _SHARES:
                    require(0 <= value <= 1, path, value, "a share in [0, 1]")
                elif each.name in _AT_LEAST_ZERO:
                    require(value >= 0, path, value, "0 or more")
                else:
                    require(value > 0, path, value, "a positive number")
        dim = self.ease_factored.dim
        require(dim >= 2, "eval.baselines.ease_factored.dim", dim, "2 or more")
