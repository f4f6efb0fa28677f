"""What is said of an override that cannot be one, and that the commands say it."""

import pytest

from configs import default
from configs.overrides import problem_of
from tests.commands import run_command


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("features.nosuch.dim", "found 'nosuch', expected a name in config.features: user_id, "),
        ("features.user_id.dims", "found 'dims', expected a name in config.features.user_id: "),
        ("trian.epochs", "found 'trian', expected a name in config: features, "),
        ("train.epochs.x", "found 'x' below config.train.epochs, expected --config.train.epochs="),
        (
            "features.history.causal.width",
            "found none at config.features.history.causal, expected "
            "--config.features.history.causal=build before it",
        ),
        ("simulation", "found '5', expected a value of one of its parts: --config.simulation."),
        ("features", "found '5', expected a value of one of its parts: --config.features.user_id"),
        ("data", "found '5', expected a value of one of its parts: --config.data.positive, "),
        ("data.split", "found '5', expected a value of one of its parts: --config.data.split.by, "),
        (
            "train.feature_dropout",
            "found '5', expected it to be filled in the config file: it is empty",
        ),
        (
            "train.feature_dropout.age",
            "found 'age', expected none below config.train.feature_dropout, which is empty",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, expected: str) -> None:
    config = default.get_config()
    config.features["history"].causal = None
    said = problem_of(config, path, "5")
    assert said is not None and said.startswith(f"--config.{path}: {expected}")


@pytest.mark.parametrize(
    "path", ["train.epochs", "features.user_id.dim", "eval.ks", "data.split.by"]
)
def test_a_path_to_a_field_is_no_problem(path: str) -> None:
    assert problem_of(default.get_config(), path, "5") is None


@pytest.mark.parametrize("path", ["features.nosuch.dim", "simulation", "features", "data"])
def test_commands_say_so_in_one_line(path: str) -> None:
    done = run_command("preprocessing.simulate", "--output=nowhere", f"--config.{path}=5")
    expected = problem_of(default.get_config(), path, "5")
    assert (done.returncode, done.stderr) == (1, f"error: {expected}\n")
