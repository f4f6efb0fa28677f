import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer import retrieval
from trainer.queries import Queries, Ragged
from trainer.retrieval import DotProductScorer, select_top_k, top_k


def best_first(scores: np.ndarray, k: int) -> list[int]:
    """Indices above -inf by falling score, then rising index, padded."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    listed = [index for index in order if scores[index] > -np.inf][:k]
    return listed + [-1] * (k - len(listed))


def random_queries(rng: np.random.Generator, *, count: int, num_items: int) -> Queries:
    lengths = rng.integers(0, num_items + 2, size=count)
    seen = Ragged.from_lengths(rng.integers(0, num_items, size=lengths.sum()), lengths)
    empty = Ragged.from_lists([[]] * count)
    return Queries(
        user_id=np.arange(count).astype(str),
        as_of=rng.integers(0, 10, size=count),
        history=empty,
        history_time=empty,
        seen=seen,
        relevant=empty,
    )


class FixedScores:
    def __init__(self, scores: np.ndarray):
        self.scores = scores
        self.blocks: list[tuple[int, int]] = []

    def score(self, queries: Queries, *, rows: slice, items: slice) -> np.ndarray:
        self.blocks.append((rows.stop - rows.start, items.stop - items.start))
        return self.scores[rows, items].copy()


class TestSelectTopK:
    # Few distinct values, so that ties are at every boundary; and everything a float32 can be.
    TIED = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf])
    ANY = st.floats(width=32, allow_nan=False)

    @settings(deadline=None)
    @given(
        hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=TIED | ANY),
        st.integers(1, 12),
    )
    def test_orders_by_score_then_index(self, scores, k):
        before = scores.copy()
        indices, top = select_top_k(scores, k)
        assert indices.tolist() == [best_first(row, k) for row in scores]
        picked = np.where(indices >= 0, np.take_along_axis(scores, np.maximum(indices, 0), 1), 0)
        np.testing.assert_array_equal(np.where(indices >= 0, top, 0), picked)
        assert np.all(top[indices < 0] == -np.inf)
        np.testing.assert_array_equal(scores, before)

    def test_chunks_of_rows_do_not_show(self, monkeypatch):
        scores = np.random.default_rng(0).integers(0, 9, size=(23, 40)).astype(np.float32)
        whole = select_top_k(scores, 7)
        monkeypatch.setattr(retrieval, "_SELECTION_CHUNK", 100)
        chunked = select_top_k(scores, 7)
        np.testing.assert_array_equal(whole[0], chunked[0])
        np.testing.assert_array_equal(whole[1], chunked[1])

    @pytest.mark.parametrize("sign", [1, -1])
    def test_refuses_nan(self, sign):
        scores = np.zeros((2, 5), dtype=np.float32)
        scores[1, 3] = np.copysign(np.float32(np.nan), sign)
        with pytest.raises(ValueError, match="found NaN"):
            select_top_k(scores, 2)


class TestTopK:
    @pytest.mark.parametrize("exclude_seen", [True, False])
    @pytest.mark.parametrize("block_rows", [1, 7, 100])
    @pytest.mark.parametrize("block_items", [1, 5, 100])
    @pytest.mark.parametrize(("num_items", "k"), [(1, 3), (12, 5), (12, 40)])
    def test_equals_a_loop_over_queries(self, num_items, k, block_rows, block_items, exclude_seen):
        rng = np.random.default_rng(num_items)
        queries = random_queries(rng, count=31, num_items=num_items)
        available = rng.integers(-5, 12, size=num_items)
        scores = rng.integers(0, 4, size=(31, num_items)).astype(np.float32)

        lists, list_scores = top_k(
            FixedScores(scores),
            queries,
            k=k,
            available=available,
            exclude_seen=exclude_seen,
            block_rows=block_rows,
            block_items=block_items,
        )

        assert lists.dtype == np.int64 and list_scores.dtype == np.float32
        for query in range(31):
            allowed = scores[query].copy()
            allowed[0] = -np.inf
            allowed[available > queries.as_of[query]] = -np.inf
            if exclude_seen:
                allowed[queries.seen.row(query)] = -np.inf
            expected = best_first(allowed, k)
            assert lists[query].tolist() == expected
            assert list_scores[query].tolist() == [
                allowed[item] if item >= 0 else -np.inf for item in expected
            ]

    def test_an_item_exists_from_its_own_second_on(self):
        queries = random_queries(np.random.default_rng(0), count=1, num_items=1)
        scorer = FixedScores(np.zeros((1, 4), dtype=np.float32))
        available = queries.as_of[0] + np.array([0, -1, 0, 1])
        lists, _ = top_k(scorer, queries, k=4, available=available, exclude_seen=False)
        assert lists.tolist() == [[1, 2, -1, -1]]

    def test_asks_for_blocks_that_cover_everything(self):
        queries = random_queries(np.random.default_rng(0), count=20, num_items=50)
        scorer = FixedScores(np.zeros((20, 50), dtype=np.float32))
        top_k(
            scorer,
            queries,
            k=3,
            available=np.zeros(50, np.int64),
            exclude_seen=True,
            block_rows=8,
            block_items=30,
        )
        assert scorer.blocks == [(8, 30), (8, 20), (8, 30), (8, 20), (4, 30), (4, 20)]

    @pytest.mark.parametrize("order", [1, -1])
    def test_merges_whatever_the_order_of_scores(self, order):
        """Rising scores replace the whole list in each block, falling ones leave it as it is."""
        queries = random_queries(np.random.default_rng(0), count=3, num_items=1)
        scores = np.tile(np.arange(1_000, dtype=np.float32) * order, (3, 1))
        available = np.zeros(1_000, np.int64)
        lists, found = top_k(
            FixedScores(scores),
            queries,
            k=4,
            available=available,
            exclude_seen=False,
            block_items=100,
        )
        expected = [999, 998, 997, 996] if order == 1 else [1, 2, 3, 4]
        assert lists.tolist() == [expected] * 3
        assert found.tolist() == [[float(order * item) for item in expected]] * 3

    @pytest.mark.parametrize("at", [3, 33])
    def test_refuses_nan_in_any_block(self, at):
        scores = np.zeros((2, 50), dtype=np.float32)
        scores[1, at] = np.nan
        queries = random_queries(np.random.default_rng(0), count=2, num_items=1)
        with pytest.raises(ValueError, match="found NaN"):
            top_k(
                FixedScores(scores),
                queries,
                k=3,
                available=np.zeros(50, np.int64),
                exclude_seen=False,
                block_items=30,
            )

    def test_refuses_a_scorer_of_another_catalog(self):
        queries = random_queries(np.random.default_rng(0), count=2, num_items=5)
        scorer = FixedScores(np.zeros((2, 5), dtype=np.float32))
        with pytest.raises(ValueError, match=r"FixedScores was to return float32 \(2, 6\)"):
            top_k(scorer, queries, k=3, available=np.zeros(6, np.int64), exclude_seen=True)

    def test_refuses_float64_scores(self):
        queries = random_queries(np.random.default_rng(0), count=2, num_items=5)
        with pytest.raises(ValueError, match=r"found float64 \(2, 5\)"):
            top_k(
                FixedScores(np.zeros((2, 5))),
                queries,
                k=3,
                available=np.zeros(5, np.int64),
                exclude_seen=True,
            )


class TestDotProductScorer:
    @pytest.mark.parametrize("num_items", [2, 300])
    @pytest.mark.parametrize("dimension", [1, 16])
    def test_equals_float64_brute_force(self, num_items, dimension):
        rng = np.random.default_rng(dimension)
        queries = random_queries(rng, count=17, num_items=num_items)
        # Small integers: float32 products are exact, so lists must be equal, ties included.
        query_embedding = rng.integers(-3, 4, size=(17, dimension)).astype(np.float32)
        item_embedding = rng.integers(-3, 4, size=(num_items, dimension)).astype(np.float32)
        scorer = DotProductScorer(query_embedding=query_embedding, item_embedding=item_embedding)
        lists, _ = top_k(
            scorer,
            queries,
            k=10,
            available=np.zeros(num_items, np.int64),
            exclude_seen=False,
            block_rows=4,
        )
        exact = query_embedding.astype(np.float64) @ item_embedding.T.astype(np.float64)
        exact[:, 0] = -np.inf
        assert lists.tolist() == [best_first(row, 10) for row in exact]

    def test_refuses_embeddings_of_other_queries(self):
        queries = random_queries(np.random.default_rng(0), count=3, num_items=5)
        ones = np.ones((5, 2), dtype=np.float32)
        scorer = DotProductScorer(query_embedding=ones, item_embedding=ones)
        with pytest.raises(ValueError, match=r"3 queries asked for as many .* found \(5, 2\)"):
            scorer.score(queries, rows=slice(0, 3), items=slice(0, 5))
