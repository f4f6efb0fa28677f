"""How sure a difference is: intervals by resampling users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.metrics import Float64Array
from trainer.queries import Int64Array

_SAMPLES_AT_ONCE = 64
_COVERED = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        value: over the queries as they are.
        low: 2.5 % quantile over resamples.
        high: 97.5 % quantile.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Interval):
    """A paired difference.

    Attributes:
        p_value: two-sided, of no difference; at least 2 / (samples + 1), at most 1.
    """

    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bootstrap:
    """Means of several models' metrics over resampled users.

    Attributes:
        means: by (model, metric), over the queries as they are.
        resampled: by (model, metric), float64 [samples]; the same users for all of them.
    """

    means: Mapping[tuple[str, str], float]
    resampled: Mapping[tuple[str, str], Float64Array]

    def interval(self, model: str, metric: str) -> Interval:
        """A metric's mean with its interval."""
        low, high = _quantiles(self.resampled[model, metric])
        return Interval(value=self.means[model, metric], low=low, high=high)

    def difference(self, model: str, other: str, metric: str) -> Difference:
        """How much better `model` is than `other`, on the same users in each resample."""
        resampled = self.resampled[model, metric] - self.resampled[other, metric]
        below, above = np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0)
        low, high = _quantiles(resampled)
        return Difference(
            value=self.means[model, metric] - self.means[other, metric],
            low=low,
            high=high,
            p_value=min(1.0, 2 * (1 + min(below, above)) / (len(resampled) + 1)),
        )


def bootstrap(
    metrics: Mapping[str, Mapping[str, Float64Array]],
    user: npt.NDArray[np.generic],
    *,
    samples: int,
    seed: int = 0,
) -> Bootstrap:
    """Resamples users, with all their queries, and takes every model's means each time.

    Queries of one user are alike, so they are drawn together: single queries drawn apart would
    give intervals that are too narrow where users have several.

    Args:
        metrics: by model and metric, float64 [Q], one value a query, the queries of all the same.
        user: [Q], whose query each is.
        samples: how many resamples.
        seed: of the draws.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), sections 13.3 (percentile
        intervals) and 16.4; paired, as Sakai, "Evaluating evaluation metrics based on the
        bootstrap" (SIGIR 2006); by clusters, as Field & Welsh, "Bootstrapping clustered data"
        (JRSS B 2007).
    """
    names = [(model, metric) for model, values in metrics.items() for metric in values]
    values = np.stack([metrics[model][metric] for model, metric in names], axis=1)
    group: Int64Array = np.unique(user, return_inverse=True)[1].astype(np.int64)
    num_users = int(group.max()) + 1
    queries_of_user = np.bincount(group).astype(np.float64)
    sums = np.zeros((num_users, len(names)))
    np.add.at(sums, group, values)

    draw = np.random.default_rng(seed)
    even = np.full(num_users, 1 / num_users)
    blocks = []
    for start in range(0, samples, _SAMPLES_AT_ONCE):
        size = min(_SAMPLES_AT_ONCE, samples - start)
        times = draw.multinomial(num_users, even, size=size).astype(np.float64)
        blocks.append((times @ sums) / (times @ queries_of_user)[:, None])
    resampled = np.concatenate(blocks)
    return Bootstrap(
        means={name: float(values[:, i].mean()) for i, name in enumerate(names)},
        resampled={name: resampled[:, i] for i, name in enumerate(names)},
    )


def _quantiles(resampled: Float64Array) -> tuple[float, float]:
    tail = (1 - _COVERED) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
