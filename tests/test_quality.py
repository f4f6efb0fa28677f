"""Rows of the table over several seeds."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmarks.quality import Row, over_runs, run_row, seeded
from configs.schema import Config
from tests.quiet import QUIET


def test_the_interval_over_runs_is_students() -> None:
    values = [0.30, 0.32, 0.31, 0.29, 0.33]
    found = over_runs([{"HR@10": value, "MRR@10": 0.5} for value in values])
    low, high = scipy.stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert found["HR@10"].value == pytest.approx(0.31)
    assert (found["HR@10"].low, found["HR@10"].high) == pytest.approx((low, high))
    assert found["MRR@10"].low == found["MRR@10"].high == 0.5


def test_a_seed_changes_nothing_else(config: Config) -> None:
    other = seeded(config, 2)
    assert other.train.seed == config.train.seed + 2 and other.eval.baselines.kinds == ()
    other.train.seed, other.eval.baselines = config.train.seed, config.eval.baselines
    assert other == config
    assert seeded(config, 0) == config


def test_every_seed_is_a_run_of_its_own(
    config: Config, logs: Path, dataset_dir: Path, workdir: Path, tmp_path: Path
) -> None:
    """With the dataset and the first run there, a second seed is trained and both are told."""
    config = copy.deepcopy(config)
    config.train.epochs = 1
    (tmp_path / "dataset").symlink_to(dataset_dir)
    (tmp_path / "run").symlink_to(workdir)
    result = run_row(config, row=Row.ML1M_TIME90, root=tmp_path, data=logs, seeds=2, out=QUIET)
    assert result["seeds"] == [17, 18] and list(result["seconds"]) == ["train 2"]
    told = {"run": json.loads((workdir / "metrics.json").read_text())}
    told["run-2"] = json.loads((tmp_path / "run-2" / "metrics.json").read_text())
    runs = [each["protocols"]["window"]["models"] for each in told.values()]
    assert list(runs[1]) == ["streamrec"] and "EASE" in runs[0]
    values = [models["streamrec"]["Recall@100"] for models in runs]
    assert values[0] != values[1]
    found = result["over seeds"]["window"]["Recall@100"]
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["low"] < min(values) and found["high"] > max(values)
    assert result["differences"]["window"]["EASE"]["Recall@100"]["p_value"] <= 1
