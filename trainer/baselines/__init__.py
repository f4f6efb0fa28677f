"""Models without gradients that every trained model is measured against."""

from collections.abc import Callable, Mapping

from trainer.baselines.base import Baseline
from trainer.baselines.ease import Ease
from trainer.baselines.item_knn import ItemKnn
from trainer.baselines.last_items import LastItems
from trainer.baselines.popularity import Popularity, RecentPopularity

BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "popularity": Popularity,
    "recent_popularity": RecentPopularity,
    "item_knn": ItemKnn,
    "last_items": LastItems,
    "ease": Ease,
}
"""Each baseline by the name that configs and reports use, with its default parameters."""

__all__ = [
    "BASELINES",
    "Baseline",
    "Ease",
    "ItemKnn",
    "LastItems",
    "Popularity",
    "RecentPopularity",
]
