"""The list contract, over catalogs, embeddings, exclusions and batches of every awkward kind."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Export, Index
from serving.item_store import ItemStore, ItemTable
from serving.lists import LOWEST, ListMaker
from serving.tuning import build, recall_by_score

DIM = 16
K = 30
TEMPERATURE = 0.05


def vectors_of(kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(count, DIM))
    if kind == "clustered":  # ten places for all items
        vectors = vectors[:10][rng.integers(0, min(10, count), count)]
    if kind == "identical":
        vectors[:] = vectors[0]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Case:
    """A catalog, its index, and lists from it."""

    def __init__(
        self, kind: str, count: int, index: Index, *, k: int, removed: int = 0, fresh: int = 0
    ) -> None:
        vectors = vectors_of(kind, count + fresh)
        queries = vectors_of("spread", 64)
        self.num_items = count + fresh
        config = Export(index=index, k=k)
        tuned = build(vectors[:count], queries, config=config, width=min(k, count))
        ids = np.array([f"v{i}" for i in range(count)], object)
        popularity = np.random.default_rng(0).zipf(1.5, count) % 1_000
        table = ItemTable(
            video_id=ids, popularity=popularity, removed={f"v{i}" for i in range(removed)}
        )
        store = ItemStore(table, vectors[:count], num_popular=2 * k)
        if fresh:
            store.fresh_vectors.assign(vectors[count:])
            store.listed.assign(tf.concat([store.listed, tf.ones([fresh], tf.bool)], 0))
            floor = store.log_popularity[:1]
            store.log_popularity.assign(
                tf.concat([store.log_popularity, tf.repeat(floor, fresh)], 0)
            )
        self.listed = store.listed.numpy()
        self.popular = store.popular_id.numpy()
        self.log_popularity = store.log_popularity.numpy()
        self.vectors = vectors
        lists = ListMaker(tuned.searcher, store, k=k, temperature=TEMPERATURE)
        self.width = min(k, self.num_items)
        self.make = tf.function(
            lists.__call__,
            input_signature=[
                tf.TensorSpec([None, DIM]),
                tf.TensorSpec([None, None], tf.int64),
                tf.TensorSpec([None]),
            ],
        )

    def lists(
        self, queries: np.ndarray, excluded: np.ndarray, weight: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        weights = np.full(len(queries), weight, np.float32)
        ids, scores = self.make(queries, excluded.astype(np.int64), weights)
        return ids.numpy(), scores.numpy()


@functools.cache
def case(kind: str, count: int, index: Index, k: int = K, removed: int = 0, fresh: int = 0) -> Case:
    return Case(kind, count, index, k=k, removed=removed, fresh=fresh)


def check(made: Case, ids: np.ndarray, scores: np.ndarray, excluded: np.ndarray) -> None:
    """Every clause of the contract, for every row."""
    assert ids.shape == scores.shape == (len(excluded), made.width)
    assert np.isfinite(scores).all() and (np.diff(scores, axis=1) <= 0).all()
    for row, left_out in zip(ids, excluded, strict=True):
        real = row[row != 0]
        assert len(set(real)) == len(real)
        assert made.listed[real].all()
        assert set(real).isdisjoint(left_out)
        eligible = np.flatnonzero(made.listed)
        eligible = len(eligible) - len(np.intersect1d(eligible, left_out))
        assert len(real) == min(made.width, eligible)
        assert (row[: len(real)] != 0).all()  # what is missing is missing at the end
    assert ((ids == 0) == (scores == LOWEST)).all()


CATALOGS = [
    ("spread", 1, Index.EXACT),
    ("spread", 5, Index.EXACT),
    ("spread", 50, Index.EXACT),
    ("identical", 50, Index.EXACT),
    ("spread", 5, Index.AH),
    ("clustered", 50, Index.AH),
    ("identical", 50, Index.PARTITIONED),
    ("spread", 20_000, Index.AH),
    ("clustered", 20_000, Index.AH),
    ("identical", 20_000, Index.AH),
    ("clustered", 20_000, Index.PARTITIONED),
]


@pytest.mark.parametrize(("kind", "count", "index"), CATALOGS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_contract(kind: str, count: int, index: Index, data: st.DataObject) -> None:
    made = case(kind, count, index)
    batch = data.draw(st.sampled_from([0, 1, 2, 7]), "batch")
    rng = np.random.default_rng(data.draw(st.integers(0, 1_000), "seed"))
    queries = vectors_of("spread", 64)[rng.integers(0, 64, batch)]
    longest = data.draw(st.sampled_from([0, 1, 60, 1_000]), "exclusions")
    # 0 and -1 stand for strangers and padding; repeats come by themselves in small catalogs.
    excluded = rng.integers(-1, count + 1, (batch, longest))
    if batch and longest and data.draw(st.booleans(), "the nearest are excluded"):
        nearest = np.argsort(-(queries @ made.vectors.T), axis=1)[:, :longest] + 1
        excluded[:, : nearest.shape[1]] = nearest
    weight = data.draw(st.sampled_from([0.0, 0.5]), "popularity weight")
    ids, scores = made.lists(queries, excluded, weight)
    check(made, ids, scores, excluded)


@pytest.mark.parametrize(("kind", "count", "index"), CATALOGS)
def test_everything_excluded_and_all_but_one(kind: str, count: int, index: Index) -> None:
    made = case(kind, count, index)
    every = np.tile(np.arange(1, count + 1), (2, 1))
    every[1, count // 2] = 0
    ids, scores = made.lists(vectors_of("spread", 2), every, 0.5)
    check(made, ids, scores, every)
    assert (ids[0] == 0).all() and ids[1, 0] == count // 2 + 1


@pytest.mark.parametrize(
    ("kind", "index"), [("spread", Index.EXACT), ("clustered", Index.AH), ("spread", Index.AH)]
)
def test_batch_of_512(kind: str, index: Index) -> None:
    made = case(kind, 20_000, index)
    queries = np.resize(vectors_of("spread", 64), (512, DIM))
    excluded = np.random.default_rng(1).integers(-1, 20_001, (512, 50))
    ids, scores = made.lists(queries, excluded, 0.2)
    check(made, ids, scores, excluded)
    again, _ = made.lists(queries[100:101], excluded[100:101], 0.2)
    np.testing.assert_array_equal(again[0], ids[100])


@pytest.mark.parametrize("kind", ["spread", "clustered", "identical"])
def test_partitioned_catalog_of_100_000(kind: str) -> None:
    made = case(kind, 100_000, Index.PARTITIONED)
    queries = vectors_of("spread", 8)
    nearest = np.argsort(-(queries @ made.vectors.T), axis=1)[:, :2_000] + 1
    for excluded in (nearest[:, :0], nearest, np.repeat(nearest[:, :20], 3, axis=1)):
        ids, scores = made.lists(queries, excluded)
        check(made, ids, scores, excluded)


def test_k_above_reorder_and_catalog() -> None:
    made = case("spread", 2_000, Index.AH, k=3_000)
    queries = vectors_of("spread", 3)
    ids, scores = made.lists(queries, np.zeros((3, 1)))
    check(made, ids, scores, np.zeros((3, 1)))
    assert (np.sort(ids, axis=1) == np.arange(1, 2_001)).all()


@pytest.mark.parametrize(("count", "index"), [(3_000, Index.AH), (20_000, Index.PARTITIONED)])
def test_recall_holds_whatever_is_left_out(count: int, index: Index) -> None:
    """As for a user whose history, or what was shown before, is just what is nearest.

    The index is tuned on lists of which nothing is left out. Were no more items reordered than
    there, .82 of a list would be found where 30 are left out; no more partitions searched: .94
    where 90 are.
    """
    made = case("spread", count, index)
    queries = vectors_of("spread", 200)
    scores = queries @ made.vectors.T / TEMPERATURE
    nearest = np.argsort(-scores, axis=1)
    for left_out in (30, 90, 270):
        _, found = made.lists(queries, nearest[:, :left_out] + 1)
        last = np.take_along_axis(scores, nearest[:, left_out + K - 1 : left_out + K], axis=1)
        assert recall_by_score(found, last, tie=1e-4) >= 0.95


@pytest.mark.parametrize("count", [1, 5, 3_000])
def test_removed_items_never_come_and_fresh_ones_do(count: int) -> None:
    index = Index.AH if count > 100 else Index.EXACT
    made = case("spread", count, index, K, min(count, 40), 7)
    queries = made.vectors[-7:]  # each fresh item asks for itself
    excluded = np.zeros((7, 1))
    ids, scores = made.lists(queries, excluded)
    check(made, ids, scores, excluded)
    np.testing.assert_array_equal(ids[:, 0], count + 1 + np.arange(7))


@pytest.mark.parametrize("index", [Index.EXACT, Index.AH])
@pytest.mark.parametrize("batch", [0, 1, 64])
def test_fresh_items_are_searched_exactly(index: Index, batch: int) -> None:
    """Those that are as near as the last indexed one, however many or few those are."""
    made = case("spread", 3_000, index, K, 0, 600)
    queries = vectors_of("spread", 64)[:batch]
    nearest = np.argsort(-(queries @ made.vectors.T), axis=1) + 1
    for left_out in (0, 50):
        excluded = nearest[:, :left_out]
        ids, scores = made.lists(queries, excluded)
        check(made, ids, scores, excluded)
        for row, listed in enumerate(ids):
            best = nearest[row, left_out : left_out + K]
            assert np.isin(best[best > 3_000], listed).all()
        assert batch == 0 or (ids > 3_000).any()


@pytest.mark.parametrize("index", [Index.EXACT, Index.AH])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
def test_scores_are_the_blend_over_the_union_of_both_lists(index: Index, weight: float) -> None:
    made = case("spread", 3_000, index)
    queries = vectors_of("spread", 64)
    excluded = np.tile(np.arange(1, 11), (64, 1))
    ids, scores = made.lists(queries, excluded, weight)
    dots = queries @ made.vectors.T
    dots[:, :10] = -np.inf
    nearest = np.argsort(-dots, axis=1)[:, : K + 10]
    overlap = []
    for row in range(64):
        union = np.setdiff1d(np.union1d(nearest[row] + 1, made.popular), np.arange(1, 11))
        blend = (1 - weight) * dots[row, union - 1] / TEMPERATURE
        blend += weight * made.log_popularity[union]
        expected = union[np.argsort(-blend, kind="stable")[:K]]
        overlap.append(len(np.intersect1d(expected, ids[row])) / K)
        by_id = dict(zip(union, blend, strict=True))
        ours = [by_id[i] for i in ids[row] if i in by_id]
        np.testing.assert_allclose(ours, scores[row][np.isin(ids[row], union)], atol=1e-3)
    assert np.mean(overlap) > (0.999 if index is Index.EXACT else 0.93)


def test_exact_search_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.index._SCORES_AT_ONCE", 5_000)
    blocked = Case("spread", 1_000, Index.EXACT, k=K)
    queries = vectors_of("spread", 64)
    excluded = np.ones((64, 1))
    ids, scores = blocked.lists(queries, excluded)
    expected, expected_scores = case("spread", 1_000, Index.EXACT).lists(queries, excluded)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
