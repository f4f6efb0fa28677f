"""The model with every loss and mix of negatives, on a log of a few likes."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Config, Correction, Duplicates, Frequency, LossKind, Model
from configs.schema import Loss as LossConfig
from preprocessing.columns import NEGATIVE_ITEM
from tests.fresh_model import batches_of, names_of_unmoved, new_model
from tests.quiet import QUIET
from tests.tiny_run import tiny_config, tiny_dataset
from trainer.candidates import sampling_of
from trainer.dataset import Dataset, load_interactions, load_user_counts, open_dataset
from trainer.restore import restore_run
from trainer.temperature import Temperature
from trainer.train import train_and_evaluate


@pytest.fixture(scope="module")
def config() -> Config:
    config = tiny_config()
    config.model.dropout = config.train.history_dropout = 0.0
    return config


@pytest.fixture(scope="module")
def root(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("tiny"), config)


@pytest.fixture(scope="module")
def dataset(config: Config, root: Path) -> Dataset:
    return open_dataset(root, config)


def with_loss(config: Config, **changes: Any) -> Config:
    changed = copy.deepcopy(config)
    changed.loss = LossConfig(**({"uniform_negatives": 8} | changes))
    return changed.validate()


LOSSES: dict[str, dict[str, Any]] = {
    **{kind.value: {"kind": kind} for kind in LossKind},
    "smoothed": {"label_smoothing": 0.1},
    "symmetric": {"symmetric": True},
    "logq": {"correction": Correction.LOGQ},
    "deduplicated": {"duplicates": Duplicates.REMOVED},
    "uniform only": {"in_batch_negatives": False},
    "in-batch only": {"uniform_negatives": 0},
    "memory": {"memory_size": 100},
    "impressed": {"impressed_negatives": 2, "memory_size": 100},
    "streaming": {"frequency": Frequency.STREAMING, "frequency_buckets": 1_000},
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_moves_every_weight(name: str, config: Config, dataset: Dataset) -> None:
    config = with_loss(config, **LOSSES[name])
    config.model.learn_temperature = name != "triplet"  # which is on cosines
    model = new_model(config, dataset)
    assert not names_of_unmoved(config, model, batches_of(config, dataset, model).take(3))


@pytest.mark.parametrize("mask_history", [False, True])
def test_the_full_softmax_is_over_the_whole_catalog(
    mask_history: bool, config: Config, dataset: Dataset
) -> None:
    """From the vectors of the towers, row by row, masked where the user likes another item too."""
    config = with_loss(config, kind=LossKind.FULL_SOFTMAX)
    config.loss.mask_history = mask_history
    model = new_model(config, dataset)
    batch = next(iter(batches_of(config, dataset, model)))
    known = np.arange(1, dataset.catalog.num_known + 1)
    items = model.embed_items(tf.constant(known), tf.zeros_like(known)).numpy()
    history = tf.gather(batch["distinct_item"], batch["history_index"])
    users = model.embed_users(batch, history).numpy()
    positive = batch["candidate_item"].numpy()[batch["positive_index"]]
    user = batch["user"].numpy()
    losses = []
    for row in range(len(users)):
        exp = np.exp(users[row].astype(np.float64) @ items.T / config.model.temperature)
        others = set(positive[user == user[row]])
        if mask_history:
            others |= set(history[row].numpy())
        others -= {positive[row]}
        total = exp[~np.isin(known, [*others])].sum()
        losses.append(-np.log(exp[positive[row] - 1] / total))
    np.testing.assert_allclose(model.compute_loss(batch), np.mean(losses), rtol=1e-4)


def test_the_full_softmax_has_a_bound(config: Config, dataset: Dataset) -> None:
    config = with_loss(config, kind=LossKind.FULL_SOFTMAX)
    large = dataclasses.replace(dataset.catalog, num_known=100_001)
    with pytest.raises(UserError, match=r"config\.loss\.kind: .* for 100,001 items, expected at"):
        sampling_of(config, dataset.spec, large)


def test_impressed_negatives_need_their_column(config: Config, dataset: Dataset) -> None:
    config = with_loss(config, impressed_negatives=4)
    assert sampling_of(config, dataset.spec, dataset.catalog).impressed == 4
    config.data.negatives_per_row = 0
    without = dataclasses.replace(dataset.spec, data=config.data)
    assert NEGATIVE_ITEM not in {c.name for c in without.train_columns}
    with pytest.raises(UserError, match=r"config\.loss\.impressed_negatives: found 4, expected 0"):
        sampling_of(config, without, dataset.catalog)


def test_train_rows_by_user(dataset: Dataset) -> None:
    counts = load_user_counts(dataset)
    assert sum(counts.values()) == dataset.manifest.rows("train")
    assert len(counts) == len(np.unique(load_interactions(dataset, ["train"]).user))


def test_memory_and_temperature_are_part_of_the_checkpoint(
    config: Config, dataset: Dataset, tmp_path: Path
) -> None:
    config = with_loss(config, memory_size=100, symmetric=True)
    config.model.learn_temperature = True
    config.eval.protocols = ()
    config.train.learning_rate = 0.05
    train_and_evaluate(config, dataset.root, tmp_path / "run", console=QUIET)
    _, _, model, step = restore_run(tmp_path / "run")
    memory = model.negatives.memory
    assert memory is not None
    assert int(memory.pushed) == step * config.train.batch_size > memory.size
    assert memory.item.numpy().min() >= 1
    np.testing.assert_allclose(np.linalg.norm(memory.vector, axis=1), 1, rtol=1e-5)
    assert abs(float(model.temperature()) / config.model.temperature - 1) > 0.05


@pytest.mark.parametrize("direction", [-1e6, 1e6])
def test_the_temperature_starts_where_it_is_told_and_stays_within_its_bounds(
    direction: float,
) -> None:
    temperature = Temperature(Model(temperature=0.07, learn_temperature=True))
    assert float(temperature()) == pytest.approx(0.07)
    (variable,) = temperature.trainable_variables
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = temperature()
        gradient = tape.gradient(value, variable)
        variable.assign_add(direction * tf.sign(gradient) / 1e5)
    low, high = Model().temperature_bounds
    assert low * 0.999 <= float(temperature()) <= high * 1.001
    assert (float(temperature()) < 0.07) == (direction < 0)
    assert not Temperature(Model()).trainable_variables


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("loss", "label_smoothing", 1.0),
        ("loss", "memory_size", -1),
        ("loss", "uniform_negatives", 0),
        ("loss", "frequency_rate", 1.0),
        ("model", "temperature_bounds", (1.0, 0.1)),
        ("model", "temperature", 2.0),
        ("loss", "kind", LossKind.TRIPLET),
    ],
)
def test_refuses_what_makes_no_sense(part: str, field: str, value: Any, config: Config) -> None:
    config = copy.deepcopy(config)
    config.loss.in_batch_negatives = False
    config.model.learn_temperature = True
    config.validate()
    setattr(getattr(config, part), field, value)
    named = "model.learn_temperature" if field == "kind" else f"{part}.{field}"
    with pytest.raises(UserError, match=rf"config\.{named}: found"):
        config.validate()


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory_size", 100), ("symmetric", True), ("frequency", Frequency.STREAMING)],
)
def test_batches_near_in_time_refuse_what_is_for_any_day(
    field: str, value: Any, config: Config
) -> None:
    config = copy.deepcopy(config)
    config.train.batch_days = 2.0
    config.validate()
    setattr(config.loss, field, value)
    with pytest.raises(UserError, match=rf"config\.loss\.{field}: found .* with train.batch_days"):
        config.validate()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_size", 10),
        ("impressed_negatives", 1),
        ("duplicates", Duplicates.REMOVED),
        ("symmetric", True),
    ],
)
def test_the_full_softmax_takes_no_samples(field: str, value: Any, config: Config) -> None:
    with pytest.raises(UserError, match=rf"config\.loss\.{field}: found"):
        with_loss(config, kind=LossKind.FULL_SOFTMAX, **{field: value})


def test_feature_dropout_zeroes_rows_in_training_only(config: Config, dataset: Dataset) -> None:
    config = copy.deepcopy(config)
    config.train.feature_dropout = {"category": 0.5, "user_id": 0.3}
    model = new_model(config.validate(), dataset)
    ids = tf.tile(tf.range(1, 31, dtype=tf.int64), [40])
    without = model.items(ids).numpy()
    trained = model.items(ids, training=True).numpy()
    lost = (trained != without).any(1)
    assert lost.mean() == pytest.approx(0.5, abs=0.06)
    category = slice(config.features["item_id"].dim, None)
    assert not trained[lost][:, category].any() and without[:, category].any(1).all()
    np.testing.assert_array_equal(trained[:, : category.start], without[:, : category.start])
    batch = next(iter(batches_of(config, dataset, model)))
    assert float(model.compute_loss(batch)) == float(model.compute_loss(batch))
    assert float(model.compute_loss(batch, training=True)) != float(model.compute_loss(batch))


@pytest.mark.parametrize("name", ["nothing", "item_id", "history"])
def test_feature_dropout_names_a_feature(name: str, config: Config) -> None:
    config = copy.deepcopy(config)
    config.train.feature_dropout = {name: 0.5}
    with pytest.raises(UserError, match=rf"config\.train\.feature_dropout\.{name}: found 0\.5"):
        config.validate()
