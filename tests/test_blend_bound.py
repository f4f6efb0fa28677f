"""The blend of scorers that is fitted on the answers: benchmarks.blend_bound."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.blend_bound import RUNS, Blend, above_zero, fit_weights, run, scaled
from configs.errors import UserError
from configs.schema import Config, Protocol
from tests.quiet import QUIET
from trainer.dataset import open_dataset
from trainer.evaluation import ask, measure


def test_a_blend_is_the_weighted_sum_of_the_part_asked_for(
    config: Config, dataset_dir: Path
) -> None:
    queries = ask(config, open_dataset(dataset_dir, config), "validation", Protocol.WINDOW)[0]
    own = np.arange(12, dtype=np.float32).reshape(3, 4)
    of_all = np.array([[100, 200, 300, 400]], np.float32)
    blend = Blend({"own": own, "all": of_all, "none": own}, {"own": 2.0, "all": 0.5, "none": 0.0})
    found = blend.score(queries.queries, rows=slice(1, 3), items=slice(2, 9))
    assert found.tolist() == [[162, 214], [170, 222]] and found.dtype == np.float32


def test_parts_are_scaled_as_a_whole_and_backfill_is_left_out() -> None:
    scores = np.array([[0, 2, 4], [-1, -0.5, 0], [9, 9, 9]], np.float32)
    found = scaled(above_zero(scores))
    assert found[1].tolist() == [0, 0, 0] and np.ptp(found[2]) == 0
    assert found[0] == pytest.approx([0, found[0, 1], 2 * found[0, 1]])
    assert found.var(axis=1).mean() == pytest.approx(1)
    assert scaled(np.zeros((2, 3), np.float32)).tolist() == [[0, 0, 0]] * 2


def test_search_finds_the_part_that_knows_the_answers(config: Config, dataset_dir: Path) -> None:
    dataset = open_dataset(dataset_dir, config)
    queries = ask(config, dataset, "validation", Protocol.WINDOW)[0].queries
    shape = (len(queries), dataset.catalog.size)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    answers = np.zeros(shape, np.float32)
    answers[queries.relevant.row_of_value, queries.relevant.values] = 100
    parts = {"noise": noise, "answers": answers}
    weights = fit_weights(parts, queries, config, dataset, tries=40)
    reached = measure(Blend(parts, weights), queries, config, dataset).means["Recall@100"]
    alone = measure(Blend(parts, {"noise": 1.0}), queries, config, dataset).means["Recall@100"]
    assert reached > 0.99 > 0.9 > alone


def test_the_blend_is_no_worse_than_the_runs_and_a_run_that_is_none_is_told(
    config: Config, dataset_dir: Path, workdir: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(dataset_dir, config)
    found = run(config, dataset, [workdir, workdir], known_days=[30], tries=30, out=QUIET)
    recall = {name: means["Recall@100"] for name, means in found["scorers"].items()}
    blend, all_known = found["weights"]
    assert recall[all_known] > recall[blend] >= recall[RUNS]
    assert not any("oracle" in part for part in found["weights"][blend])
    assert recall[RUNS] == pytest.approx(recall[workdir.name], abs=0.01)
    with pytest.raises(UserError, match="--runs"):
        run(config, dataset, [tmp_path], tries=1, out=QUIET)
