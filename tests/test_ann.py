"""How the benchmark of indices counts; what it times is not looked at here."""

import os

import numpy as np
import pytest

from benchmarks.ann import furthest_of, is_worth_a_look, qps_at, recall_of
from benchmarks.ann_peers import one_core


def test_recall_counts_distinct_items_as_near_as_the_exact_lists_last() -> None:
    rng = np.random.default_rng(0)
    items, asked = (rng.normal(size=(n, 8)).astype(np.float32) for n in (500, 40))
    items[300:] = items[:200]  # many at the same place: either will do
    exact = np.argsort(-(asked @ items.T), axis=1)[:, :100]
    furthest = furthest_of(items, asked)
    assert recall_of(exact, items, asked, furthest) == 1
    twins = np.where(exact < 200, exact + 300, exact)
    assert recall_of(twins, items, asked, furthest) < 1  # repeats, where both were listed
    half = exact.copy()
    half[:, 50:] = half[:, :50]
    assert recall_of(half, items, asked, furthest) == 0.5
    half[:, 50:] = -1  # as faiss says that it found no more
    assert recall_of(half, items, asked, furthest) == 0.5


def test_qps_at_a_recall_is_between_its_neighbours_on_the_front() -> None:
    curve = [(0.9, 1_000.0), (0.96, 250.0), (0.93, 200.0), (0.99, 100.0)]
    assert qps_at(curve, 0.93) == pytest.approx(500)  # halfway, on a log scale
    assert qps_at(curve, 0.5) == 1_000
    assert qps_at(curve, 0.995) is None


def test_settings_far_slower_than_an_equal_are_left_out() -> None:
    points = [("a", 0.9, 100.0), ("a", 0.9, 60.0), ("a", 0.91, 70.0), ("b", 0.99, 999.0)]
    assert [is_worth_a_look(p, points) for p in points] == [True, False, True, True]


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
