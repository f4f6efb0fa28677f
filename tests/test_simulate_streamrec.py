from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from configs.errors import UserError
from configs.schema import Split
from configs.simulation import StreamRecSimulation
from preprocessing.simulate import simulate
from preprocessing.simulation import streamrec


@pytest.fixture(scope="module")
def logs() -> streamrec.StreamRecLogs:
    return streamrec.simulate_streamrec(StreamRecSimulation(), split=Split())


def test_streamrec_oracle_has_its_known_values(logs: streamrec.StreamRecLogs) -> None:
    oracle = streamrec.summarize_streamrec(logs)["oracle"]
    assert oracle["hr_at_10"] == pytest.approx(0.00336, abs=1e-5)
    assert oracle["hr_at_50"] == pytest.approx(0.0168, abs=1e-4)
    assert oracle["hr_at_100"] == pytest.approx(0.0336, abs=1e-4)


def test_streamrec_draws_as_told(logs: streamrec.StreamRecLogs) -> None:
    preferred = (logs.weight > 0).sum(axis=1)
    assert set(preferred) == {2, 3, 4}
    weights = logs.weight[logs.weight > 0]
    assert 0.5 <= weights.min()
    assert weights.max() <= 2
    assert weights.mean() == pytest.approx(1.25, abs=0.01)
    # What was drawn scores as the closed form says.
    hit = logs.item_probability[logs.user, logs.category[logs.item]]
    sizes = np.bincount(logs.category, minlength=15)
    expected = (logs.item_probability**2 @ sizes).mean()
    assert hit.mean() == pytest.approx(expected, rel=0.005)
    early = logs.timestamp < logs.cuts.validation_time
    assert early.mean() == pytest.approx(0.8, abs=1e-5)


def test_streamrec_shortcut_is_the_gumbel_argmax() -> None:
    rng = np.random.default_rng(0)
    weight, category = np.array([0.0, 1.5, 0.7]), np.array([0, 0, 1, 1, 1, 2])
    draws = 200_000
    best = (weight[category] + 0.5 * rng.gumbel(size=(draws, len(category)))).argmax(axis=1)
    found = np.bincount(best, minlength=len(category)) / draws
    expected = streamrec.item_probabilities(
        weight[np.newaxis], np.bincount(category), noise_scale=0.5
    )[0, category]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert expected.sum() == pytest.approx(1)


def test_expected_hit_rate_of_known_lists(logs: streamrec.StreamRecLogs) -> None:
    probability = logs.item_probability
    sizes = np.bincount(logs.category, minlength=15)
    users = np.arange(0, 50_000, 7)
    oracle = np.repeat(probability[users].argmax(axis=1)[:, np.newaxis], 100, axis=1)
    best = streamrec.oracle_hit_rate(probability[users], sizes, depth=100)
    rate = streamrec.expected_hit_rate(probability, user_rows=users, item_categories=oracle)
    assert rate == pytest.approx(best)
    # A whole catalog hits always, and an empty place never.
    everything = np.tile(logs.category, (2, 1))
    assert streamrec.expected_hit_rate(
        probability, user_rows=users[:2], item_categories=everything
    ) == pytest.approx(1)
    oracle[:, 50:] = -1
    assert streamrec.expected_hit_rate(
        probability, user_rows=users, item_categories=oracle
    ) == pytest.approx(best / 2)


def test_streamrec_tables(tmp_path: Path) -> None:
    config = StreamRecSimulation(users=50, items=120, interactions=1_000)
    simulate(config, output=str(tmp_path / "logs"), display=Console(quiet=True))
    tables = {
        name: pl.read_parquet(tmp_path / "logs" / files)
        for name, files in (
            ("events", "events/*.parquet"),
            ("videos", "videos.parquet"),
            ("users", "users.parquet"),
            ("truth", "truth.parquet"),
        )
    }
    assert set(tables["events"]["event"]) == {"like"}
    assert tables["events"]["timestamp"].is_sorted()
    profile = np.stack(tables["users"]["profile_vector"].to_list())
    assert profile.shape == (50, 64)
    weights = np.stack(tables["users"]["category_weights"].to_list())
    assert weights.shape == (50, 15)
    assert np.stack(tables["videos"]["content_vector"].to_list()).shape == (120, 96)
    # The truth is what the tables' own weights and categories give.
    sizes = np.array([(tables["videos"]["category"] == f"c{c:02d}").sum() for c in range(15)])
    expected = streamrec.item_probabilities(weights.astype(np.float64), sizes, noise_scale=0.5)
    found = tables["truth"]["probability"].to_numpy().reshape(50, 15)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert tables["truth"]["user_id"].to_list()[::15] == tables["users"]["user_id"].to_list()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": 0}, "items: found 0"),
        ({"preferred_max": 16}, "preferred_max: found 16"),
        ({"weight_max": 0.1}, "weight_max: found 0.1"),
        ({"noise_scale": -1.0}, "noise_scale: found -1.0"),
    ],
)
def test_a_wrong_parameter_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"config.simulation.{message}"):
        StreamRecSimulation(**changes).validate()
