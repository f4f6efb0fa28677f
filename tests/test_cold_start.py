"""The table of dropouts by slice, at toy size, and what its slices are."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold_start
from benchmarks.cold_start import SETTINGS, Dropout, recall_by_slice, run, table, with_dropouts
from configs.schema import Config
from tests.quiet import QUIET
from trainer.metrics import evaluate_lists
from trainer.queries import Queries, Ragged


def test_slices_are_of_new_users_new_videos_and_the_rest() -> None:
    """Item 1 is known, 2 is new; the second user is new."""
    relevant = Ragged.from_lists([[1, 2], [1, 2], [1]])
    history = Ragged.from_lists([[3], [], [3, 4]])
    queries = Queries(
        user_id=np.array(["a", "b", "c"]),
        as_of=np.full(3, 9),
        history=history,
        history_time=history,
        seen=history,
        relevant=relevant,
    )
    lists = np.full((3, 100), -1)
    lists[:, :1] = [[1], [2], [5]]  # the known one, the new one, neither
    metrics = evaluate_lists(lists, relevant, [100], catalog_size=9)
    found = recall_by_slice(metrics, queries, train_count=np.array([0, 7, 0, 1, 1]))
    assert found == pytest.approx(
        {"all": 1 / 3, "new users": 1 / 2, "new videos": 1 / 2, "all others": 1 / 2}
    )


def test_a_setting_turns_off_all_other_dropouts_and_nothing_else(config: Config) -> None:
    config = copy.deepcopy(config)
    config.train.feature_dropout = {"age": 0.5}
    none, items, features = (
        with_dropouts(config, SETTINGS[name])
        for name in ("none", "item ids alone", "features alone")
    )
    assert none.train.history_dropout == none.train.item_id_dropout == 0
    assert not none.train.feature_dropout
    assert items.train.item_id_dropout == config.train.item_id_dropout > 0
    assert items.train.history_dropout == 0
    assert features.train.item_id_dropout == 0
    left_out = set(config.features) - set(features.validate().train.feature_dropout)
    assert left_out == {"item_id", "history"}
    every = with_dropouts(config, frozenset(Dropout))
    assert every.train.history_dropout == config.train.history_dropout > 0
    every.train = config.train
    assert every == config


def test_every_setting_is_trained_with_its_dropouts_and_told(
    config: Config, dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(config)
    config.train.epochs = 1
    settings = {name: SETTINGS[name] for name in ("none", "all three")}
    found = run(config, dataset_dir, tmp_path, seeds=1, out=QUIET, settings=settings)
    assert list(found) == ["none", "all three", "(recent popularity)"]
    assert found["none"] != found["all three"]
    for name, has_some in (("none", False), ("all-three", True)):
        (path,) = tmp_path.glob(f"{name}-*/run.json")
        trained = json.loads(path.read_text())["config"]["train"]
        assert bool(trained["item_id_dropout"]) == bool(trained["feature_dropout"]) == has_some
        assert not list(path.parent.glob("**/*test*"))

    header, *rows = table(found)
    assert header == ["dropout", "all", "new videos", "all others"]  # no new user is in this log
    assert [row[0] for row in rows] == list(found)
    assert rows[1][2] == f"{found['all three'][0]['new videos']:.3f}"

    monkeypatch.setattr(cold_start, "train_and_evaluate", _must_not_train)
    assert run(config, dataset_dir, tmp_path, seeds=1, out=QUIET, settings=settings) == found


def test_the_table_has_the_interval_over_seeds() -> None:
    ((_, line),) = [table({"none": [{"all": 0.2}, {"all": 0.3}]})[1:][0]]
    assert line == "0.250 ± 0.635"  # Student's t of one degree, 12.7, times .05


def _must_not_train(*args: object, **kwargs: object) -> None:
    raise AssertionError("what is there was to be used again")
