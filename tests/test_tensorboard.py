"""What a run leaves for TensorBoard, read back as TensorBoard reads it."""

import copy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig

from configs.baselines import BaselineKind
from configs.schema import Config, Protocol
from tests.quiet import QUIET
from tests.tiny_run import STEPS_PER_EPOCH, WITHOUT_GRAPHS, tiny_config, tiny_dataset
from trainer.dataset import open_dataset
from trainer.report.curves import read_curves
from trainer.tensorboard import (
    METADATA,
    VECTORS,
    effective_rank,
    hyperparameters,
    projector_lines,
    uniformity,
)
from trainer.train import Result, train_and_evaluate

STEPS = 2 * STEPS_PER_EPOCH

pytestmark = WITHOUT_GRAPHS


@pytest.fixture(scope="module")
def config() -> Config:
    config = tiny_config()
    config.eval.protocols = (Protocol.WINDOW,)
    config.eval.baselines.kinds = (BaselineKind.POPULARITY,)
    config.eval.bootstrap_samples = 0
    config.tensorboard.projector_items = 20
    return config.validate()


@pytest.fixture(scope="module")
def dataset(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("tensorboard"), config)


@pytest.fixture(scope="module")
def run(
    config: Config, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    work = tmp_path_factory.mktemp("run") / "run"
    return work / "tensorboard", train_and_evaluate(config, dataset, work, console=QUIET)


@pytest.fixture(scope="module")
def events(run: tuple[Path, Result]) -> EventAccumulator:
    return EventAccumulator(str(run[0])).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]


def test_curves_have_a_point_for_each_logged_step(events: EventAccumulator) -> None:
    logged = list(range(2, STEPS + 1, 2))
    for tag in (
        "loss",
        "gradient_norm",
        "learning_rate",
        "item_cosine",
        "item_uniformity",
        "item_effective_rank",
        "temperature",
        "loss_spikes",
    ):
        found = scalars(events, f"train/{tag}")
        assert [step for step, _ in found] == logged, tag
        assert np.isfinite([value for _, value in found]).all(), tag


def test_the_temperature_is_that_of_the_model(config: Config, events: EventAccumulator) -> None:
    fixed = [value for _, value in scalars(events, "train/temperature")]
    assert fixed == pytest.approx([config.model.temperature] * len(fixed))


def test_a_learnt_temperature_is_seen_to_move(
    config: Config, dataset: Path, tmp_path: Path
) -> None:
    learning = copy.deepcopy(config)
    learning.model.learn_temperature = True
    learning.train.epochs = 1
    train_and_evaluate(learning, dataset, tmp_path / "run", console=QUIET)
    moving = read_curves(tmp_path / "run" / "tensorboard")["train/temperature"]
    (_, first), *_, (_, last) = moving
    low, high = learning.model.temperature_bounds
    assert low < last < high and len({value for _, value in moving}) == len(moving)
    assert first == pytest.approx(config.model.temperature, rel=0.2)


def test_monitors_are_within_what_they_can_be(config: Config, events: EventAccumulator) -> None:
    ranks = [value for _, value in scalars(events, "train/item_effective_rank")]
    assert all(1 <= rank <= config.model.embedding_dim for rank in ranks)
    assert all(-8 <= value <= 0 for _, value in scalars(events, "train/item_uniformity"))


def test_the_final_metrics_are_scalars_of_the_last_step(
    run: tuple[Path, Result], events: EventAccumulator
) -> None:
    ours = run[1].metrics["protocols"]["window"]["models"]["streamrec"]
    for name in ("HR@10", "Recall@100", "NDCG@10"):
        assert scalars(events, f"test/window/{name}") == [(STEPS, pytest.approx(ours[name]))]


def test_hparams_are_the_settings_of_the_run(config: Config, events: EventAccumulator) -> None:
    (content,) = events.PluginTagToContent("hparams").values()
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    session = data.session_start_info.hparams
    assert session["train.batch_size"].number_value == config.train.batch_size
    assert session["loss.correction"].string_value == config.loss.correction.value
    assert session["model.temperature"].number_value == pytest.approx(config.model.temperature)
    assert set(session) == set(hyperparameters(config))


def test_the_projector_finds_vectors_and_titles(
    config: Config, dataset: Path, run: tuple[Path, Result]
) -> None:
    directory = run[0]
    shown = text_format.Parse((directory / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = shown.embeddings
    assert (embedding.tensor_name, embedding.metadata_path) == (VECTORS, METADATA)
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(directory)))
    vectors = reader.get_tensor(embedding.tensor_name)
    assert vectors.shape == (20, config.model.embedding_dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    header, *lines = (directory / METADATA).read_text(encoding="utf-8").splitlines()
    assert header.split("\t")[:3] == ["title", "video_id", "train_count"]
    assert "category" in header.split("\t")
    counts = [int(line.split("\t")[2]) for line in lines]
    catalog = open_dataset(dataset, config).catalog
    assert counts == sorted(catalog.train_count[1:].tolist(), reverse=True)[:20]


def test_a_title_stays_on_its_line(config: Config, dataset: Path) -> None:
    opened = open_dataset(dataset, config)
    opened.catalog.title[1] = "a\ttab, a\nline\r\nbreak\u2028and \x1b more"
    opened.catalog.title[2] = ""
    lines = projector_lines(opened.catalog, opened.spec, np.array([1, 2]))
    assert [line.count("\t") for line in lines] == [lines[0].count("\t")] * 3
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert lines[1].startswith("a tab, a line break and")
    assert lines[2].split("\t")[0] == opened.catalog.video_id[2]  # a point must have a name


def test_all_of_it_can_be_turned_off(config: Config, dataset: Path, tmp_path: Path) -> None:
    plain = copy.deepcopy(config)
    plain.tensorboard.hparams = plain.tensorboard.monitors = False
    plain.tensorboard.projector_items = 0
    plain.train.epochs = 1
    train_and_evaluate(plain, dataset, tmp_path / "run", console=QUIET)
    directory = tmp_path / "run" / "tensorboard"
    assert {path.name.split(".")[0] for path in directory.iterdir()} == {"events"}
    events = EventAccumulator(str(directory)).Reload()
    assert "hparams" not in events.summary_metadata
    assert "train/item_effective_rank" not in events.Tags()["tensors"]
    assert "train/loss" in events.Tags()["tensors"]


def test_uniformity_is_its_definition() -> None:
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    pairs = [np.exp(-2 * 2.0), np.exp(-2 * 4.0), np.exp(-2 * 2.0)]
    assert uniformity(vectors) == pytest.approx(np.log(np.mean(pairs)))
    assert uniformity(np.ones((5, 1), np.float32)) == pytest.approx(0)


def test_effective_rank_counts_the_dimensions_in_use() -> None:
    assert effective_rank(np.eye(6, dtype=np.float32)) == pytest.approx(6)
    assert effective_rank(np.ones((9, 4), np.float32)) == pytest.approx(1)
    half = np.zeros((8, 4), np.float32)
    half[:4, 0] = half[4:, 1] = 1
    assert effective_rank(half) == pytest.approx(2)
