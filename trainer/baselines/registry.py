"""Every baseline: what makes it of the config's parameters, and what tuning tries."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from configs.baselines import BaselineKind, Baselines
from configs.evaluation import Eval
from trainer.baselines.base import Baseline
from trainer.baselines.bpr import Bpr
from trainer.baselines.ease import Ease
from trainer.baselines.ease_factored import EaseFactored
from trainer.baselines.ials import Ials
from trainer.baselines.item_knn import ItemKnn
from trainer.baselines.last_items import LastItems
from trainer.baselines.own_items import OwnItems
from trainer.baselines.popularity import Popularity, RecentPopularity
from trainer.queries import Interactions


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A baseline.

    Attributes:
        make: the baseline of its parameters, of `configs.baselines`.
        grid: what tuning tries, every combination: values by parameter.
    """

    make: Callable[[Any], Baseline]
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def candidates(self, parameters: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """What tuning changes, and the parameters with the change, for each combination."""
        for values in itertools.product(*self.grid.values()):
            changed = dict(zip(self.grid, values, strict=True))
            yield changed, replace(parameters, **changed)


BASELINES: Mapping[BaselineKind, Entry] = {
    BaselineKind.POPULARITY: Entry(make=Popularity),
    BaselineKind.RECENT_POPULARITY: Entry(
        make=RecentPopularity, grid={"days": (1.0, 3.0, 7.0, 14.0, 30.0)}
    ),
    BaselineKind.OWN_ITEMS: Entry(
        make=OwnItems, grid={"half_life_days": (7.0, 15.0, 30.0, 60.0, 120.0, 1_000.0)}
    ),
    BaselineKind.LAST_ITEMS: Entry(
        make=LastItems,
        grid={
            "last": (1, 8, 20),
            "window": (2, 8, 20),
            "source_exponent": (0.5, 0.75),
            "target_exponent": (0.0, 0.25, 0.5),
        },
    ),
    BaselineKind.ITEM_KNN: Entry(
        make=ItemKnn,
        grid={"neighbours": (20, 50, 200), "shrinkage": (2.0, 10.0, 20.0, 50.0)},
    ),
    BaselineKind.EASE: Entry(
        make=Ease, grid={"regularization": (30.0, 100.0, 300.0, 1_000.0, 3_000.0)}
    ),
    BaselineKind.EASE_FACTORED: Entry(
        make=EaseFactored,
        grid={
            "regularization": (100.0, 300.0, 1_000.0),
            "popularity_weight": (0.0, 0.1, 0.3, 1.0, 3.0),
        },
    ),
    BaselineKind.IALS: Entry(
        make=Ials,
        grid={
            "factors": (64, 128),
            "regularization": (10.0, 30.0, 100.0),
            "alpha": (1.0, 5.0, 10.0, 20.0),
        },
    ),
    BaselineKind.BPR: Entry(
        make=Bpr,
        grid={
            "factors": (32, 64, 128),
            "regularization": (0.003, 0.01, 0.03),
            "learning_rate": (0.02, 0.05),
        },
    ),
}
"""By kind; the config says which run (`eval.baselines.kinds`) and with what parameters."""


def parameters_of(config: Baselines, kind: BaselineKind) -> Any:
    """The parameters that the config gives a kind."""
    return getattr(config, kind.name.lower())


def fit_baselines(
    config: Eval, train: Interactions, *, before_split: Interactions, console: Console
) -> dict[str, Baseline]:
    """Fits the baselines that the config wants.

    Args:
        config: kinds, parameters, and whether seen items are left out.
        train: the positives that models learn from.
        before_split: all positives before the evaluated split.
        console: for progress.

    Returns:
        By the name that reports use, in the order of the config.
    """
    fitted = {}
    for kind in config.baseline_kinds:
        console.print(f"fitting {kind.value}")
        baseline = BASELINES[kind].make(parameters_of(config.baselines, kind))
        fitted[kind.value] = baseline.fit(train, before_split=before_split)
    return fitted
