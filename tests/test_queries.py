import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.queries import queries_of
from trainer.queries import Interactions, Queries, Ragged, eligible_relevant

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8)


def as_lists(ragged: Ragged) -> list[list[int]]:
    return [ragged.row(index).tolist() for index in range(len(ragged))]


class TestRagged:
    @given(ROWS)
    def test_holds_the_rows(self, rows):
        ragged = Ragged.from_lists(rows)
        assert len(ragged) == len(rows)
        assert as_lists(ragged) == rows
        assert ragged.lengths.tolist() == [len(row) for row in rows]
        assert ragged.row_of_value.tolist() == [i for i, row in enumerate(rows) for _ in row]

    @given(ROWS, st.data())
    def test_take_gathers_rows_in_any_order(self, rows, data):
        index = st.integers(0, len(rows) - 1)
        chosen = data.draw(st.lists(index, max_size=10)) if rows else []
        taken = Ragged.from_lists(rows).take(np.array(chosen, dtype=np.int64))
        assert as_lists(taken) == [rows[index] for index in chosen]

    @given(ROWS, st.integers(0, 7))
    def test_last_cuts_from_the_front(self, rows, count):
        cut = Ragged.from_lists(rows).last(count)
        assert as_lists(cut) == [row[max(len(row) - count, 0) :] for row in rows]

    @given(ROWS)
    def test_keep_may_empty_rows(self, rows):
        ragged = Ragged.from_lists(rows)
        kept = ragged.keep(ragged.values >= 5)
        assert as_lists(kept) == [[value for value in row if value >= 5] for row in rows]

    @given(ROWS, st.integers(0, 8), st.integers(0, 8))
    def test_slice_is_a_range_of_rows(self, rows, start, length):
        start = min(start, len(rows))
        stop = min(start + length, len(rows))
        assert as_lists(Ragged.from_lists(rows).slice(start, stop)) == rows[start:stop]

    @pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 3, 2, 3]])
    def test_refuses_offsets_that_do_not_cut_up_the_values(self, offsets):
        with pytest.raises(ValueError, match="must rise from 0 to the 3 values"):
            Ragged(values=np.arange(3), offsets=np.array(offsets, dtype=np.int64))


class TestQueries:
    def test_take_keeps_the_parts_together(self):
        queries = queries_of(
            [[1], [2, 3], [4]], as_of=[10, 20, 30], seen=[[5], [], [6]], history=[[7], [8, 9], []]
        )
        taken = queries.take(np.array([2, 1]))
        assert taken.user_id.tolist() == ["u_2", "u_1"]
        assert taken.as_of.tolist() == [30, 20]
        assert as_lists(taken.history) == [[], [8, 9]]
        assert as_lists(taken.seen) == [[6], []]
        assert as_lists(taken.relevant) == [[4], [2, 3]]

    def test_refuses_parts_of_different_lengths(self):
        with pytest.raises(ValueError, match="2 users asked for as many as_of"):
            queries_of([[1], [2]], as_of=[10])


class TestInteractions:
    def columns(self, **changed) -> dict:
        columns = {
            "user": np.array([0, 1]),
            "item": np.array([1, 2]),
            "time": np.array([5, 6]),
            "num_users": 2,
            "num_items": 3,
            "end_time": 7,
        }
        return columns | changed

    def test_counts_known_items(self):
        interactions = Interactions(**self.columns(item=np.array([0, 2])))
        assert interactions.item_counts.tolist() == [0, 0, 1]

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"item": np.array([1, 3])}, r"item must be in \[0, 3\), found 1 to 3"),
            ({"user": np.array([-1, 1])}, r"user must be in \[0, 2\), found -1 to 1"),
            ({"time": np.array([5, 7])}, "time must be before 7, found 7"),
            ({"time": np.array([5])}, "equally long, found 2, 2 and 1"),
        ],
    )
    def test_refuses(self, changed, message):
        with pytest.raises(ValueError, match=message):
            Interactions(**self.columns(**changed))


class TestEligibleRelevant:
    # Item 3 exists from 15 on; user 0 asks at 10 and has seen 1, user 1 asks at 15.
    AVAILABLE = np.array([0, 0, 0, 15, 0])

    def queries(self) -> Queries:
        return queries_of(
            [[1, 2, 3, 0], [3, 4], [0, 0]], as_of=[10, 15, 15], seen=[[4, 1, 1], [1], []]
        )

    def test_drops_what_is_no_candidate_and_says_why(self):
        eligible = eligible_relevant(self.queries(), available=self.AVAILABLE, exclude_seen=True)
        assert eligible.rows.tolist() == [0, 1]
        assert eligible.queries.user_id.tolist() == ["u_0", "u_1"]
        assert as_lists(eligible.queries.relevant) == [[2], [3, 4]]
        assert eligible.dropped_queries == 1
        assert eligible.lost_share == 5 / 8
        assert eligible.lost_unknown_share == 3 / 8
        assert eligible.lost_unavailable_share == 1 / 8
        assert eligible.lost_seen_share == 1 / 8

    def test_what_was_seen_may_stay_relevant(self):
        eligible = eligible_relevant(self.queries(), available=self.AVAILABLE, exclude_seen=False)
        assert as_lists(eligible.queries.relevant) == [[1, 2], [3, 4]]
        assert eligible.lost_seen_share == 0

    def test_nothing_relevant_anywhere(self):
        eligible = eligible_relevant(
            queries_of([[], []], as_of=[1, 1]), available=self.AVAILABLE, exclude_seen=True
        )
        assert len(eligible.queries) == 0
        assert eligible.dropped_queries == 2
        assert eligible.lost_share == 0

    def test_refuses_ids_outside_the_catalog(self):
        with pytest.raises(ValueError, match=r"relevant ids must be in \[0, 5\), found 5 to 5"):
            eligible_relevant(
                queries_of([[5]], as_of=[1]), available=self.AVAILABLE, exclude_seen=True
            )
