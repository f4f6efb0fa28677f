import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.queries import queries_of
from trainer.metrics import (
    DEFAULT_KS,
    ITEM_AGE_GROUPS,
    POPULARITY_GROUPS,
    evaluate_lists,
    evaluation_slices,
    history_length_group,
    item_age_group,
    popularity_group,
    slice_by_query,
    slice_by_relevant,
)
from trainer.queries import Ragged

DAY = 86_400


def padded(rows: list[list[int]], width: int) -> np.ndarray:
    return np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64)


def metrics_by_loop(ranked: list[int], relevant: list[int], k: int) -> dict[str, float]:
    """The definitions, one rank at a time."""
    hits, dcg, precision_sum, reciprocal_rank = 0, 0.0, 0.0, 0.0
    for rank, item in enumerate(ranked[:k], start=1):
        if item not in relevant:
            continue
        hits += 1
        dcg += 1 / math.log2(rank + 1)
        precision_sum += hits / rank
        if hits == 1:
            reciprocal_rank = 1 / rank
    ideal_hits = min(k, len(relevant))
    return {
        "HR": float(hits > 0),
        "Recall": hits / len(relevant),
        "NDCG": dcg / sum(1 / math.log2(rank + 1) for rank in range(1, ideal_hits + 1)),
        "MRR": reciprocal_rank,
        "MAP": precision_sum / ideal_hits,
    }


def random_case(seed: int, *, queries: int, num_items: int, width: int):
    """Lists with and without padding, and one to twelve relevant items a query."""
    rng = np.random.default_rng(seed)
    lists = [
        rng.permutation(num_items)[: rng.integers(0, width + 1)].tolist() for _ in range(queries)
    ]
    relevant = [rng.permutation(num_items)[: rng.integers(1, 13)].tolist() for _ in range(queries)]
    return lists, relevant


class TestEvaluateLists:
    def test_values_worked_out_by_hand(self):
        lists = padded([[7, 3, 9, 4], [1, 2], [5, 6, 7, 8]], 4)
        relevant = Ragged.from_lists([[3, 4, 8], [2], [1]])
        metrics = evaluate_lists(lists, relevant, (2, 4), catalog_size=10)

        # Query 0 hits at ranks 2 and 4, query 1 at rank 2, query 2 never.
        log2 = math.log2
        expected = {
            "HR@2": [1, 1, 0],
            "HR@4": [1, 1, 0],
            "Recall@2": [1 / 3, 1, 0],
            "Recall@4": [2 / 3, 1, 0],
            "NDCG@2": [(1 / log2(3)) / (1 + 1 / log2(3)), 1 / log2(3), 0],
            "NDCG@4": [(1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / 2), 1 / log2(3), 0],
            "MRR@2": [1 / 2, 1 / 2, 0],
            "MRR@4": [1 / 2, 1 / 2, 0],
            "MAP@2": [(1 / 2) / 2, 1 / 2, 0],
            "MAP@4": [(1 / 2 + 2 / 4) / 3, 1 / 2, 0],
        }
        assert metrics.per_query.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(metrics.per_query[name], values, rtol=1e-12, err_msg=name)
        assert metrics.rank.tolist() == [2, 4, 0, 2, 0]
        assert metrics.coverage == {"Coverage@2": 6 / 10, "Coverage@4": 9 / 10}
        assert metrics.means["Recall@4"] == pytest.approx((2 / 3 + 1) / 3)
        assert metrics.means["Coverage@4"] == 9 / 10

    @settings(deadline=None)
    @given(st.data())
    def test_equals_the_definitions(self, data):
        """Any lists, empty and short ones too, and k above the number of items."""
        num_queries = data.draw(st.integers(1, 6))
        items = st.integers(0, 12)
        ranked = st.lists(items, unique=True, max_size=13)
        lists = data.draw(st.lists(ranked, min_size=num_queries, max_size=num_queries))
        wanted = st.lists(items, unique=True, min_size=1, max_size=13)
        relevant = data.draw(st.lists(wanted, min_size=num_queries, max_size=num_queries))
        ks = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))

        metrics = evaluate_lists(
            padded(lists, 20), Ragged.from_lists(relevant), ks, catalog_size=13
        )

        for k in ks:
            for query in range(num_queries):
                expected = metrics_by_loop(lists[query], relevant[query], k)
                for name, value in expected.items():
                    assert metrics.per_query[f"{name}@{k}"][query] == pytest.approx(value)
            listed = {item for row in lists for item in row[:k]}
            assert metrics.coverage[f"Coverage@{k}"] == len(listed) / 13

    def test_equals_ranx(self, monkeypatch):
        import numba

        # Interpreted: compiling ranx takes half a minute and warns about its own casts.
        monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
        from ranx import Qrels, Run, evaluate

        lists, relevant = random_case(7, queries=60, num_items=300, width=200)
        # ranx holds no empty run, so each list has an item; and it sorts queries by name.
        lists = [row or [299] for row in lists]
        qrels = Qrels({f"{q:02}": {f"{item}": 1 for item in row} for q, row in enumerate(relevant)})
        run = Run(
            {
                f"{q:02}": {f"{item}": float(-rank) for rank, item in enumerate(row)}
                for q, row in enumerate(lists)
            }
        )
        ks = (1, 5, *DEFAULT_KS)
        metrics = evaluate_lists(
            padded(lists, 200), Ragged.from_lists(relevant), ks, catalog_size=300
        )
        lengths = np.array([len(row) for row in relevant])
        for ours, theirs in (
            ("HR", "hit_rate"),
            ("Recall", "recall"),
            ("NDCG", "ndcg"),
            ("MRR", "mrr"),
            ("MAP", "map"),
        ):
            for k in ks:
                expected = evaluate(qrels, run, f"{theirs}@{k}", return_mean=False)
                if ours == "MAP":  # ranx divides by all relevant items
                    expected = expected * lengths / np.minimum(k, lengths)
                assert expected.max() > 0
                np.testing.assert_allclose(
                    metrics.per_query[f"{ours}@{k}"], expected, atol=1e-6, err_msg=f"{ours}@{k}"
                )

    def test_a_perfect_list_scores_one_everywhere(self):
        relevant = [list(range(30)), [3]]
        lists = padded([list(range(30)), [3]], 30)
        metrics = evaluate_lists(lists, Ragged.from_lists(relevant), (1, 10, 30), catalog_size=30)
        for name, values in metrics.per_query.items():
            if not name.startswith("Recall"):
                np.testing.assert_allclose(values, 1, err_msg=name)
        assert metrics.per_query["Recall@10"].tolist() == [1 / 3, 1]

    @pytest.mark.parametrize(
        ("lists", "relevant", "ks", "message"),
        [
            ([[1, 1, 2]], [[1]], (3,), "an item twice"),
            ([[1, -1, 2]], [[1]], (3,), "padded at the end"),
            ([[1, 2, 3]], [[1]], (3, 4), r"\[1, at least 4\].*found \(1, 3\)"),
            ([[1, 2, 3]], [[1], [2]], (3,), r"\[2, at least 3\]"),
            ([[1, 2, 3], [1, 2, 3]], [[1], []], (3,), "found none in row 1"),
            ([[1, 2, 3]], [[4, 4]], (3,), "relevant must not hold an item twice"),
            ([[1, 2, 3]], [[1]], (0, 3), "ks must be at least 1"),
        ],
    )
    def test_refuses(self, lists, relevant, ks, message):
        with pytest.raises(ValueError, match=message):
            evaluate_lists(np.array(lists), Ragged.from_lists(relevant), ks, catalog_size=10)


class TestGroups:
    def test_history_lengths(self):
        groups = history_length_group(np.array([0, 1, 4, 5, 19, 20, 500]))
        assert groups.tolist() == [0, 1, 1, 2, 2, 3, 3]

    def test_popularity_thirds_hold_a_third_of_the_events(self):
        train_count = np.array([0, 1, 5, 5, 2, 10, 7])
        # By popularity 10, 7, 5, 5, 2, 1 of 30: before each 0, 10, 17, 22, 27, 29.
        names = [POPULARITY_GROUPS[group] for group in popularity_group(train_count)]
        assert names == ["tail", "tail", "mid", "tail", "tail", "head", "mid"]

    def test_an_item_without_train_events_is_in_the_tail(self):
        assert popularity_group(np.array([0, 0, 0])).tolist() == [2, 2, 2]

    def test_item_age_goes_from_cold_to_old(self):
        as_of = 100 * DAY
        available = as_of - np.array([0, 9 * DAY, DAY - 1, DAY, 7 * DAY - 1, 7 * DAY])
        queries = queries_of([[1, 2, 3, 4, 5]], as_of=as_of)
        groups = item_age_group(
            queries, train_count=np.array([0, 0, 1, 1, 1, 1]), available=available
        )
        names = [ITEM_AGE_GROUPS[group] for group in groups]
        assert names == ["cold", "under 1 d", "1-7 d", "1-7 d", "over 7 d"]


class TestSlices:
    def test_recall_is_restricted_to_the_relevant_items_of_the_group(self):
        lists = padded([[1, 2, 3], [4, 5]], 3)
        relevant = Ragged.from_lists([[1, 8, 9], [9, 5]])
        metrics = evaluate_lists(lists, relevant, (1, 3), catalog_size=9)
        slices = slice_by_relevant(
            metrics, relevant, np.array([0, 0, 1, 1, 0]), ("low", "high", "none")
        )
        assert slices == {
            "low": {"queries": 2, "relevant": 3, "Recall@1": 1 / 4, "Recall@3": 3 / 4},
            "high": {"queries": 2, "relevant": 2, "Recall@1": 0, "Recall@3": 0},
        }

    def test_groups_of_queries_average_to_the_whole(self):
        lists, relevant = random_case(3, queries=40, num_items=60, width=20)
        packed = Ragged.from_lists(relevant)
        metrics = evaluate_lists(padded(lists, 20), packed, (5, 20), catalog_size=60)
        group = np.arange(40) % 3
        slices = slice_by_query(metrics, group, ("a", "b", "c"))
        assert sum(values["queries"] for values in slices.values()) == 40
        for name, values in metrics.per_query.items():
            whole = sum(part[name] * part["queries"] for part in slices.values()) / 40
            assert whole == pytest.approx(values.mean()), name
            assert slices["b"][name] == pytest.approx(values[1::3].mean()), name

    def test_a_report_slices_by_history_popularity_and_age(self):
        queries = queries_of([[1], [2]], as_of=10 * DAY, history=[[], [3, 3]])
        metrics = evaluate_lists(padded([[1], [3]], 5), queries.relevant, (5,), catalog_size=3)
        slices = evaluation_slices(
            metrics, queries, train_count=np.array([0, 9, 0, 4]), available=np.zeros(4, np.int64)
        )
        assert {name: values["HR@5"] for name, values in slices["history length"].items()} == {
            "0": 1,
            "1-4": 0,
        }
        recall = {
            axis: {name: values["Recall@5"] for name, values in slices[axis].items()}
            for axis in ("item popularity", "item age")
        }
        assert recall == {
            "item popularity": {"head": 1, "tail": 0},
            "item age": {"cold": 0, "over 7 d": 1},
        }
