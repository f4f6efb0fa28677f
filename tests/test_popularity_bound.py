"""How far one list for everybody goes."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.popularity_bound import OneList, popularities, run, who_asks
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY
from tests.quiet import QUIET
from trainer.dataset import open_dataset
from trainer.queries import Interactions, Queries, Ragged


def _interactions(item: list[int], day: list[int], *, end_day: int) -> Interactions:
    return Interactions(
        user=np.zeros(len(item), np.int64),
        item=np.array(item),
        time=np.array(day) * SECONDS_PER_DAY,
        num_users=1,
        num_items=5,
        end_time=end_day * SECONDS_PER_DAY,
    )


def test_weights_are_of_the_age_at_the_split_and_oracles_of_the_split() -> None:
    before = _interactions([1, 1, 1, 2, 3], [0, 0, 0, 28, 29], end_day=30)
    answers = _interactions([4, 4, 2], [36, 36, 30], end_day=40)
    found = dict(popularities(before, answers))
    assert found["all events"].tolist() == [0, 3, 1, 1, 0]
    assert found["last 1 d"].tolist() == [0, 0, 0, 1, 0]
    assert found["half-life 1 d"][1:4] == pytest.approx([3 * 0.5**30, 0.25, 0.5])
    assert found["(1 + age in days) ** -1"][1:4] == pytest.approx([3 / 31, 1 / 3, 1 / 2])
    assert found["oracle: the split's first 3 d"].tolist() == [0, 0, 1, 0, 0]
    assert found["oracle: the split"].tolist() == [0, 0, 1, 0, 2]


def test_ties_go_by_the_second_count() -> None:
    one = OneList(np.array([0.0, 0.5, 0.5, 2.0]), then_by=np.array([9, 1, 2, 0]))
    empty = Ragged.from_lists([[], []])
    queries = Queries(
        user_id=np.array(["a", "b"]),
        as_of=np.zeros(2, np.int64),
        history=empty,
        history_time=empty,
        seen=empty,
        relevant=empty,
    )
    scores = one.score(queries, rows=slice(0, 2), items=slice(0, 4))
    assert np.argsort(-scores).tolist() == [[3, 2, 1, 0]] * 2


def test_shares_of_recall_are_of_queries_not_of_items() -> None:
    queries = Queries(
        user_id=np.array(["a", "b"]),
        as_of=np.zeros(2, np.int64),
        history=Ragged.from_lists([[1], []]),
        history_time=Ragged.from_lists([[1], []]),
        seen=Ragged.from_lists([[], []]),
        relevant=Ragged.from_lists([[1, 2, 3], [4]]),
    )
    found = who_asks(queries, train_count=np.array([0, 0, 1, 19, 400]))
    assert found["new_users"] == 0.5 and found["relevant"] == 2
    expected = {"0": 1 / 6, "1": 1 / 6, "5": 1 / 6, "20": 0, "100": 1 / 2}
    assert found["by_train_rows"] == pytest.approx(expected)


def test_no_list_by_the_past_beats_the_answers(config: Config, dataset_dir: Path) -> None:
    found = run(config, open_dataset(dataset_dir, config), out=QUIET)
    recall = {name: each["Recall@100"] for name, each in found["lists"].items()}
    past = [value for name, value in recall.items() if not name.startswith("oracle")]
    assert len(past) > 3 and min(past) > 0
    assert recall["oracle: the split"] > 1.2 * max(past)
