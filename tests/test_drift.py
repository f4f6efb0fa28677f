"""Drift between two sets of rows: each measure by its definition."""

import numpy as np
import polars as pl
import pytest

from configs.schema import Describe
from preprocessing.description.drift import Measure, drift, jensen_shannon
from preprocessing.description.statistics import Summary


def numbers(*values: float, missing: float = 0.0) -> Summary:
    return Summary(missing_share=missing, numbers=np.sort(np.array(values, np.float64)))


def categories(missing: float = 0.0, **counts: int) -> Summary:
    frame = pl.DataFrame({"value": list(counts), "count": list(counts.values())})
    return Summary(missing_share=missing, categories=frame)


def test_l_infinity_is_the_largest_difference_of_a_share() -> None:
    found = drift(categories(a=6, b=3, c=1), categories(a=30, b=50, d=20), Describe())
    assert found.measure is Measure.L_INFINITY
    assert found.value == pytest.approx(0.3)
    assert found.most == "a"
    assert (found.before, found.after) == pytest.approx((0.6, 0.3))
    assert found.is_large
    absent = drift(categories(a=1), categories(a=1, missing=0.3), Describe())
    assert absent.value == pytest.approx(0.3)


def test_jensen_shannon_is_its_definition() -> None:
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    middle = (p + q) / 2
    expected = (p * np.log2(p / middle)).sum() / 2 + (q * np.log2(q / middle)).sum() / 2
    found = jensen_shannon(numbers(1, 1, 1, 2), numbers(1, 2, 2, 2), bins=10)
    assert found == pytest.approx(expected)
    assert jensen_shannon(numbers(1, 2, 3), numbers(1, 2, 3), bins=4) == pytest.approx(0)
    assert jensen_shannon(numbers(1, 2, 3), numbers(7, 8), bins=4) == pytest.approx(1)
    assert jensen_shannon(numbers(1), numbers(1, missing=1.0), bins=4) == pytest.approx(1)
    assert jensen_shannon(numbers(), numbers(), bins=4) == 0


def test_jensen_shannon_sees_a_shift_within_a_long_tail() -> None:
    draw = np.random.default_rng(0)
    tail = np.exp(3 * draw.standard_normal(20_000))
    again = np.exp(3 * np.random.default_rng(1).standard_normal(3_000))
    same = jensen_shannon(numbers(*tail), numbers(*again), bins=40)
    moved = jensen_shannon(numbers(*tail), numbers(*(again * 8)), bins=40)
    assert same < 0.01 < 0.05 < moved
