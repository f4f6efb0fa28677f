"""How far two sets of rows are apart in one column.

Source: E. Breck et al., Data Validation for Machine Learning, SysML 2019 (L-infinity for
categories); J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE Transactions on
Information Theory 37 (1), 1991 (Jensen-Shannon).
"""

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon

from configs.schema import Describe
from preprocessing.description.statistics import Summary

MISSING = "(missing)"


class Measure(enum.Enum):
    """Of the distance of two distributions, each in [0, 1]."""

    L_INFINITY = "L∞"
    JENSEN_SHANNON = "Jensen-Shannon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A distance.

    Attributes:
        measure: which.
        value: in [0, 1].
        bound: from the config; more is warned of.
        most: the category that moved most; empty for numbers.
        before: its share in the first set of rows.
        after: its share in the second.
    """

    measure: Measure
    value: float
    bound: float
    most: str = ""
    before: float = 0.0
    after: float = 0.0

    @property
    def is_large(self) -> bool:
        """Whether to warn of it."""
        return self.value > self.bound


def drift(first: Summary, second: Summary, config: Describe) -> Drift:
    """The distance of two summaries of one column; rows without a value count as one more value."""
    if first.categories is not None and second.categories is not None:
        return _of_categories(first, second, bound=config.max_category_drift)
    assert first.numbers is not None and second.numbers is not None
    return Drift(
        measure=Measure.JENSEN_SHANNON,
        value=jensen_shannon(first, second, bins=config.bins),
        bound=config.max_number_drift,
    )


def _of_categories(first: Summary, second: Summary, *, bound: float) -> Drift:
    shares = [_category_shares(summary) for summary in (first, second)]
    names = sorted({*shares[0], *shares[1]})
    if not names:
        return Drift(measure=Measure.L_INFINITY, value=0.0, bound=bound)
    before, after = (np.array([share.get(name, 0.0) for name in names]) for share in shares)
    most = int(np.argmax(np.abs(before - after)))
    return Drift(
        measure=Measure.L_INFINITY,
        value=float(abs(before[most] - after[most])),
        bound=bound,
        most=names[most],
        before=float(before[most]),
        after=float(after[most]),
    )


def _category_shares(summary: Summary) -> dict[str, float]:
    assert summary.categories is not None
    scale = (1.0 - summary.missing_share) / max(1, summary.values)
    shares = {value: count * scale for value, count in summary.categories.rows()}
    if summary.missing_share:
        shares[MISSING] = summary.missing_share
    return shares


def jensen_shannon(first: Summary, second: Summary, *, bins: int) -> float:
    """The Jensen-Shannon divergence, base 2, of two sets of numbers, in [0, 1].

    Both are put into bins of equal mass over the two together, each weighing one half, and missing
    rows into one of their own; so the shape of a long tail does not depend on where a bin ends.
    """
    assert first.numbers is not None and second.numbers is not None
    edges = _edges(first.numbers, second.numbers, bins)
    p, q = (_bin_shares(summary, edges) for summary in (first, second))
    if not p.any() or not q.any():
        return 0.0 if p.any() == q.any() else 1.0
    return float(jensenshannon(p, q, base=2) ** 2)


def _edges(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], bins: int
) -> npt.NDArray[np.float64]:
    """Inner edges; a value equal to an edge belongs to the bin below it."""
    parts = [part for part in (first, second) if len(part)]
    if not parts:
        return np.empty(0)
    # The same number of quantiles of each makes the halves weigh the same, whatever their sizes.
    levels = np.linspace(0.0, 1.0, 100 * bins + 1)
    both = np.concatenate([np.quantile(part, levels, method="nearest") for part in parts])
    inner = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.unique(np.quantile(both, inner, method="nearest"))


def _bin_shares(summary: Summary, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    assert summary.numbers is not None
    bins = np.searchsorted(edges, summary.numbers, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
    shares = (1.0 - summary.missing_share) * counts / max(1, len(summary.numbers))
    return np.append(shares, summary.missing_share)
