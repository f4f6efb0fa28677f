"""How the benchmark of indices counts; what it times is not looked at here."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.ann import qps_ratios
from benchmarks.ann_curves import (
    batches,
    chosen,
    furthest_of,
    is_worth_a_look,
    one_core,
    qps_at,
    recall_of,
)
from benchmarks.ann_peers import Built, FloatArray, Rows, Search, faiss_hnsw, faiss_pq


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
    points = [(0.9, 100.0), (0.9, 60.0), (0.91, 70.0)]
    assert [is_worth_a_look(p, points) for p in points] == [True, False, True]


def test_of_every_system_the_fastest_variant_that_finds_enough_is_chosen() -> None:
    rng = np.random.default_rng(0)
    items, queries = (rng.normal(size=(n, 8)).astype(np.float32) for n in (300, 64))

    def search(share: float, wait_s: float) -> Search:
        def found(asked: FloatArray) -> Rows:
            time.sleep(wait_s)
            rows: Rows = np.argsort(-(asked @ items.T), axis=1)[:, :100]
            rows[:, round(100 * share) :] = -1
            return rows

        return found

    def built(name: str, variant: str, **settings: Search) -> Built:
        return Built(name=name, variant=variant, settings=settings)

    systems = [
        built("a", "slow", good=search(1, 0.05)),
        built("a", "fast", good=search(1, 0.005), worse=search(0.5, 0.2)),
        built("a", "fast, but finds too little", bad=search(0.9, 0)),
        built("b", "", bad=search(0.2, 0)),
    ]
    best = chosen(systems, items, queries, recall=0.95, out=Console(file=io.StringIO()))
    assert [(each.name, each.variant) for each in best] == [("a", "fast"), ("b", "")]
    assert list(best[0].settings) == ["good"]


def test_the_faster_of_two_implementations_counts() -> None:
    curves = {
        "serving.export": [(0.7, 900.0), (0.95, 600.0)],
        "faiss HNSW": [(0.96, 200.0)],
        "hnswlib": [(0.97, 400.0)],
        "faiss IVF-PQ-fastscan, refined": [(0.95, 300.0)],
        "TFRS ScaNN layer, defaults": [(0.6, 100.0)],
    }
    ratios = {"over HNSW": 1.5, "over IVF-PQ": 2.0, "over TFRS": 9.0}
    assert qps_ratios(curves, "serving.export") == ratios
    del curves["hnswlib"]
    curves["faiss IVF-PQ-fastscan, refined"] = [(0.9, 300.0)]  # is out of reach
    assert qps_ratios(curves, "serving.export") == ratios | {"over HNSW": 3, "over IVF-PQ": None}


def test_peers_find_nearly_all_at_their_most_thorough(tmp_path: Path) -> None:
    """Every variant, built and read again; none is set up so that it cannot but lose."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5_064, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items, queries = vectors[64:], vectors[:64]
    furthest = furthest_of(items, queries)
    systems = [faiss_hnsw(items, threads=1)]
    systems += [*faiss_pq(items, threads=1, keep=tmp_path)]
    systems += [*faiss_pq(items, threads=1, keep=tmp_path)]  # from their files
    assert len({each.variant for each in systems}) == 1 + 6
    for each in systems:
        *_, search = each.settings.values()
        found = np.concatenate([search(batch) for batch in batches(queries)])
        least = 0.95 if each.name == "faiss HNSW" else 0.25  # of its lists it searches 4 %
        assert recall_of(found, items, queries, furthest) > least, each.variant


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
