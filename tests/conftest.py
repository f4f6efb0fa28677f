"""Fixtures that several test modules share: one small log taken the whole way, stage by stage."""

from pathlib import Path

import pytest
from rich.console import Console

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from configs import smoke
from configs.schema import Config

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def config() -> Config:
    """The smoke config."""
    return smoke.get_config().validate()


@pytest.fixture(scope="session")
def logs(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated raw logs."""
    from preprocessing.simulate import simulate

    output = tmp_path_factory.mktemp("raw") / "logs"
    simulate(config.simulation, output=str(output), display=QUIET)
    return output


def tables(logs: Path) -> dict[str, str]:
    """Where the three tables of simulated logs are."""
    return {
        "events": str(logs / "events"),
        "videos": str(logs / "videos.parquet"),
        "users": str(logs / "users.parquet"),
    }


@pytest.fixture(scope="session")
def dataset_dir(config: Config, logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Beam job makes of the logs."""
    from preprocessing.job import preprocess

    output = tmp_path_factory.mktemp("dataset") / "dataset"
    preprocess(config, tables=tables(logs), output=output, display=QUIET)
    return output


@pytest.fixture(scope="session")
def workdir(config: Config, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run."""
    from trainer.train import train_and_evaluate

    output = tmp_path_factory.mktemp("train") / "run"
    train_and_evaluate(config, dataset_dir, output, console=QUIET)
    return output


@pytest.fixture(scope="session")
def model_base_path(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, exported as version 1."""
    from serving.export import export

    output = tmp_path_factory.mktemp("models") / "retrieval"
    export(workdir, output, console=QUIET)
    return output
