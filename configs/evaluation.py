"""Evaluation on the full catalog: protocols, metrics, baselines."""

import enum
from dataclasses import dataclass, field

from configs.baselines import BaselineKind, Baselines
from configs.checks import choices, require, require_not_negative


class Protocol(enum.Enum):
    """A question put to the test split (docs/evaluation.md)."""

    WINDOW = "window"
    NEXT = "next"
    LOO_FILE = "loo-file"
    LOO_STRICT = "loo-strict"


HEADLINE = ("HR@10", "NDCG@10", "Recall@100")
"""What a line or a plot shows of the metrics; `metrics.json` has them all."""

METRICS = ("HR", "Recall", "NDCG", "MRR", "MAP")
"""What is measured at each of `Eval.ks`; coverage is beside them."""


@dataclass(slots=True, kw_only=True)
class Eval:
    """Evaluation on the full catalog.

    Attributes:
        protocols: which to run.
        ks: list lengths that metrics are given at.
        exclude_seen: leave seen items out of candidates and of what is relevant.
        new_users: also ask for users without any history at the query.
        max_queries: of each protocol; of more, so many are drawn, the same ones each time. 0: all.
        baselines: which run beside the model, and their parameters.
        tune_by: metric on the validation split that baselines are tuned by, and an epoch of the
            model is chosen by.
        bootstrap_samples: resamples of the users for intervals and paired differences; 0 for none.
    """

    protocols: tuple[Protocol, ...] = (Protocol.WINDOW, Protocol.NEXT)
    ks: tuple[int, ...] = (10, 20, 50, 100, 200)
    exclude_seen: bool = True
    new_users: bool = True
    max_queries: int = 20_000
    baselines: Baselines = field(default_factory=Baselines)
    tune_by: str = "Recall@100"
    bootstrap_samples: int = 1_000

    def validate(self) -> None:
        """Raises `UserError` naming the first field that is wrong."""
        self.protocols = choices(Protocol, self.protocols, "eval.protocols")
        require(
            bool(self.ks) and list(self.ks) == sorted(set(self.ks)) and self.ks[0] > 0,
            "eval.ks",
            self.ks,
            "ascending numbers",
        )
        known = [f"{metric}@{k}" for metric in METRICS for k in self.ks]
        require(self.tune_by in known, "eval.tune_by", self.tune_by, "one of " + ", ".join(known))
        require_not_negative(self, "eval", "bootstrap_samples", "max_queries")
        self.baselines.validate()

    @property
    def baseline_kinds(self) -> tuple[BaselineKind, ...]:
        """The baselines that run: a user's own items are none where seen ones are left out."""
        kinds = self.baselines.kinds
        return tuple(k for k in kinds if k is not BaselineKind.OWN_ITEMS or not self.exclude_seen)
