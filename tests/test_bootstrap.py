import numpy as np
import pytest

from trainer.bootstrap import bootstrap


def users(count: int, *, queries_each: int = 1) -> np.ndarray:
    return np.repeat(np.arange(count), queries_each).astype(str)


def test_an_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(1).normal(0.3, 0.2, 2_000)
    found = bootstrap({"a": {"HR@1": values}}, users(2_000), samples=2_000).interval("a", "HR@1")
    assert found.value == pytest.approx(values.mean())
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_queries_of_a_user_are_no_evidence_of_their_own() -> None:
    """Each user's value twenty times over: as sure as once, and not four times surer."""
    values = np.random.default_rng(2).normal(size=300)
    once = bootstrap({"a": {"m": values}}, users(300), samples=2_000).interval("a", "m")
    often = bootstrap(
        {"a": {"m": np.repeat(values, 20)}}, users(300, queries_each=20), samples=2_000
    ).interval("a", "m")
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)


def test_means_are_over_queries() -> None:
    values, user = np.array([1.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "a", "b"])
    found = bootstrap({"x": {"m": values}}, user, samples=500)
    assert found.means["x", "m"] == 0.5
    # A resample of the two users holds a's three queries, b's one, or all four.
    assert set(np.round(found.resampled["x", "m"], 6)) == {round(1 / 3, 6), 0.5, 1.0}


def test_pairing_shows_a_small_and_steady_difference() -> None:
    noise = np.random.default_rng(3).normal(size=200)
    both = {"ours": {"m": noise + 0.01}, "theirs": {"m": noise}}
    found = bootstrap(both, users(200), samples=999)
    difference = found.difference("ours", "theirs", "m")
    assert difference.value == pytest.approx(0.01)
    assert difference.low == pytest.approx(0.01) and difference.high == pytest.approx(0.01)
    assert difference.p_value == pytest.approx(2 / 1_000)
    apart = found.interval("ours", "m")
    assert apart.high - apart.low > 0.2  # unpaired, it would drown
    reverse = found.difference("theirs", "ours", "m")
    assert reverse.value == -difference.value and reverse.p_value == difference.p_value


def test_a_model_does_not_differ_from_itself() -> None:
    values = np.random.default_rng(4).normal(size=50)
    found = bootstrap({"a": {"m": values}, "b": {"m": values}}, users(50), samples=200)
    difference = found.difference("a", "b", "m")
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert difference.p_value == 1


def test_chance_is_taken_for_a_difference_as_often_as_it_says() -> None:
    draw = np.random.default_rng(5)
    rejected = 0
    for _ in range(300):
        models = {name: {"m": draw.normal(size=80)} for name in "ab"}
        found = bootstrap(models, users(80), samples=200)
        rejected += found.difference("a", "b", "m").p_value < 0.05
    assert 0.02 * 300 < rejected < 0.10 * 300
