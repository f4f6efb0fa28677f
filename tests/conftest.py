"""Fixtures that several test modules share: one small log taken the whole way, stage by stage."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import trainer  # noqa: F401  before TensorFlow: it chooses Keras 2
from configs import smoke
from configs.schema import Config
from tests.quiet import QUIET


@pytest.fixture(scope="module")
def without_graphs() -> Iterator[None]:
    """TensorFlow's functions run operation by operation."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def config() -> Config:
    """The smoke config."""
    return smoke.get_config().validate()


@pytest.fixture(scope="session")
def logs(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated raw logs, in which one user likes a video on the day it is uploaded."""
    from preprocessing.simulate import simulate

    output = tmp_path_factory.mktemp("raw") / "logs"
    simulate(config.simulation, output=str(output), display=QUIET, split=config.data.split)
    _add_a_video_of_the_day(output)
    return output


UPLOADED_TODAY = "v_uploaded_today"


def _add_a_video_of_the_day(logs: Path) -> None:
    """The log's last user likes a video that is an hour old, then one not met before."""
    events = pl.read_parquet(logs / "events" / "*.parquet").sort("timestamp")
    user, now = events["user_id"][-1], events["timestamp"][-1]
    videos = pl.read_parquet(logs / "videos.parquet")
    met = events.filter(pl.col("user_id") == user)["video_id"].unique().to_list()
    stranger = videos.filter(~pl.col("video_id").is_in(met))["video_id"][0]
    new = videos[:1].with_columns(
        video_id=pl.lit(UPLOADED_TODAY), upload_time=pl.lit(now).cast(videos["upload_time"].dtype)
    )
    pl.concat([videos, new]).write_parquet(logs / "videos.parquet")
    blank = events[-1:].with_columns(
        pl.lit(None).cast(events[name].dtype).alias(name)
        for name in ("watch_sec", "position", "propensity")
    )
    likes = [
        blank.with_columns(
            event=pl.lit("like"),
            video_id=pl.lit(video),
            timestamp=pl.lit(now + seconds).cast(events["timestamp"].dtype),
        )
        for video, seconds in ((UPLOADED_TODAY, 5), (stranger, 10))
    ]
    pl.concat(likes).write_parquet(logs / "events" / "likes-of-today.parquet")


@pytest.fixture(scope="session")
def dataset_dir(config: Config, logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Beam job makes of the logs."""
    from preprocessing.job import preprocess
    from preprocessing.simulate import tables_in

    output = tmp_path_factory.mktemp("dataset") / "dataset"
    preprocess(config, tables=tables_in(logs), output=output, display=QUIET)
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
    from serving.exporter import export

    output = tmp_path_factory.mktemp("models") / "retrieval"
    export(workdir, output, console=QUIET)
    return output


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """SavedModels of `tests.tiny_server` to copy, whose scores say 1, 2 and 3."""
    from tests.tiny_server import save

    root = tmp_path_factory.mktemp("tiny-models")
    return {version: save(root / str(version), version) for version in (1, 2, 3)}
