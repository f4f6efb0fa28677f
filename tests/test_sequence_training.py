"""Training on sequences: the batch, the loss over every row of it, and a run that is cut off."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.kinds import Causal, Sequence
from configs.schema import Config, Distribution, Form, LossKind
from configs.schema import Loss as LossConfig
from preprocessing.columns import END_SUFFIX, ITEM, TIMESTAMP, USER_ID
from tests.fresh_model import batches_of, names_of_unmoved, new_model
from tests.killed_training import assert_equal_weights, killed_once_saved
from tests.quiet import QUIET
from tests.tiny_run import tiny_config, tiny_dataset
from trainer.dataset import Dataset, open_dataset
from trainer.losses import chunks
from trainer.model import TwoTower
from trainer.records import PAD_ITEM, SEQUENCE_ROWS, Rows, parse_sequences
from trainer.train import train_and_evaluate

BATCH = 9  # sequences


@pytest.fixture(scope="module")
def config() -> Config:
    config = tiny_config()
    config.data.form = Form.SEQUENCE
    config.train.batch_days = 0.0
    config.data.sequence_context = 3
    config.features["history"] = Sequence(
        max_length=8, windows=(8, 1), causal=Causal(width=8, blocks=1, dropout=0.0)
    )
    config.model.dropout = config.train.history_dropout = 0.0
    config.train.batch_size = BATCH
    return config.validate()


@pytest.fixture(scope="module")
def root(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty positives to a user, most of them at the second of some others."""
    return tiny_dataset(tmp_path_factory.mktemp("tiny"), config, users=25, tied=True)


@pytest.fixture(scope="module")
def dataset(config: Config, root: Path) -> Dataset:
    return open_dataset(root, config)


def block_of(dataset: Dataset, count: int = BATCH) -> Rows:
    """The first sequences of the train split."""
    files = [str(dataset.root / f.name) for f in dataset.manifest.part("train")]
    records = tf.data.TFRecordDataset(files).batch(count)
    return parse_sequences(next(iter(records)), dataset.spec.train_columns)


def as_rows(block: Rows, dataset: Dataset) -> tuple[Rows, np.ndarray]:
    """The same rows with a history each, as a request has it, and who knows of which item."""
    item, time = dataset.spec.history_columns
    length = dataset.spec.sequence[1].max_length
    sequence = np.repeat(np.arange(len(block[SEQUENCE_ROWS])), block[SEQUENCE_ROWS])
    end = block[item + END_SUFFIX].numpy()
    width = block[item].shape[1]
    known = np.arange(width) < end[:, None]
    rows = {n: v for n, v in block.items() if n != SEQUENCE_ROWS}
    for name, pad in ((item, PAD_ITEM), (time, 0)):
        values = np.where(known, block[name].numpy()[sequence], pad)
        padded = np.full((len(end), length), pad)
        padded[:, :width] = values
        rows[name] = tf.constant(padded)
    return rows, sequence


def user_vectors(model: TwoTower, block: Rows, dataset: Dataset) -> tf.Tensor:
    """Of all rows of a block in one pass."""
    return model.embed_users(model.look_up(block), block[dataset.spec.history_item_column])


def test_vectors_of_a_sequence_are_those_of_its_rows(config: Config, dataset: Dataset) -> None:
    model = new_model(config, dataset)
    block = block_of(dataset)
    rows, _ = as_rows(block, dataset)
    together = user_vectors(model, block, dataset).numpy()
    apart = user_vectors(model, rows, dataset).numpy()
    assert len(together) == sum(block[SEQUENCE_ROWS].numpy()) > BATCH * 3
    assert np.abs(together - together[0]).max() > 0.01
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_no_row_depends_on_an_item_of_its_second_or_later(config: Config, dataset: Dataset) -> None:
    model = new_model(config, dataset)
    block = block_of(dataset)
    item, time = dataset.spec.history_columns
    vectors = model.items(tf.maximum(block[item], 0))
    looked_up = model.look_up(block)["history"]
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        encoded = model.history(vectors, block[item] != PAD_ITEM, looked_up)
        # Each row as one number, in which no two units cancel.
        told = tf.reduce_sum(encoded * tf.random.stateless_normal(encoded.shape, [1, 2]), 1)
    depends = np.abs(tape.jacobian(told, vectors).numpy()).max(-1) > 0  # [B, S, L]
    sequence = np.repeat(np.arange(BATCH), block[SEQUENCE_ROWS])
    times = block[time].numpy()
    earlier = (times > 0) & (times < block[TIMESTAMP].numpy()[:, None, None])
    own = np.arange(BATCH)[:, None] == sequence[:, None, None]
    np.testing.assert_array_equal(depends, earlier & own)
    tied = times[sequence] == block[TIMESTAMP].numpy()[:, None]
    assert tied.sum() > 5  # or the test would prove little


def test_gradients_reach_the_embeddings_that_items_share(config: Config, dataset: Dataset) -> None:
    model = new_model(config, dataset)
    block = block_of(dataset)
    with tf.GradientTape() as tape:
        encoded = model.history(
            model.items(tf.maximum(block["history_item"], 0)),
            block["history_item"] != PAD_ITEM,
            model.look_up(block)["history"],
        )
        loss = tf.reduce_sum(encoded**3)
    gradient = tf.convert_to_tensor(tape.gradient(loss, model.items.item_id.table)).numpy()
    ends = block["history_item" + END_SUFFIX].numpy()
    sequence = np.repeat(np.arange(BATCH), block[SEQUENCE_ROWS])
    known = {
        int(i)
        for row, end in zip(sequence, ends, strict=True)
        for i in block["history_item"].numpy()[row, :end]
    }
    moved = np.flatnonzero(np.abs(gradient).max(1) > 0)
    assert set(moved) == {int(r) for r in model.items.embedding_row(tf.constant([*known]))}


@pytest.mark.parametrize("mask_user_positives", [True, False])
def test_a_batch_counts_rows_and_masks_by_user(
    mask_user_positives: bool, config: Config, dataset: Dataset
) -> None:
    config = copy.deepcopy(config)
    config.loss.mask_user_positives = mask_user_positives
    batch = next(iter(batches_of(config, dataset, new_model(config, dataset))))
    user, positive = batch["user"].numpy(), batch["positive_index"].numpy()
    rows = len(user)
    assert rows > BATCH * 3 and rows == len(batch["weight"])
    assert batch["candidate_copies"].numpy().sum() == rows + config.loss.uniform_negatives
    same = user[:, None] == user if mask_user_positives else np.eye(rows, dtype=bool)
    np.testing.assert_array_equal(batch["rows_of_user"], same.sum(1))
    masked = np.zeros((rows, len(batch["candidate_copies"])), bool)
    masked[tuple(batch["masked"].numpy().T)] = True
    for row in range(rows):
        assert set(np.flatnonzero(masked[row])) == set(positive[same[row]])


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": LossKind.FULL_SOFTMAX, "mask_user_positives": False},
        {"impressed_negatives": 2, "memory_size": 50},
    ],
    ids=["full softmax", "sampled"],
)
def test_every_loss_moves_every_weight(
    loss: dict[str, Any], config: Config, dataset: Dataset
) -> None:
    config = copy.deepcopy(config)
    config.loss = LossConfig(**({"uniform_negatives": 8} | loss))
    model = new_model(config.validate(), dataset)
    assert not names_of_unmoved(config, model, batches_of(config, dataset, model).take(3))


def test_the_loss_in_chunks_is_the_loss_at_once(
    config: Config, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(config)
    config.loss = LossConfig(kind=LossKind.FULL_SOFTMAX, label_smoothing=0.1)
    config.model.learn_temperature = True
    model = new_model(config, dataset)
    batch = next(iter(batches_of(config, dataset, model)))
    batch["weight"] = tf.random.stateless_uniform(tf.shape(batch["weight"]), [1, 2])
    rows, columns = len(batch["weight"]), len(batch["candidate_copies"])
    variables = model.trainable_variables

    def loss_and_gradients() -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch)
        found = tape.gradient(loss, variables)
        return [loss.numpy(), *(tf.convert_to_tensor(g).numpy() for g in found)]

    monkeypatch.setattr(chunks, "CELLS", 9 * columns)
    assert rows % 9 and rows > 27
    in_chunks = loss_and_gradients()
    with monkeypatch.context() as patch:  # no chunks, no gradient of our own
        patch.setattr(
            "trainer.model.sum_in_chunks",
            lambda losses, users, candidates, temperature, weight: tf.reduce_sum(
                losses(users, candidates, temperature, 0, rows) * weight
            ),
        )
        at_once = loss_and_gradients()
    for one, other in zip(in_chunks, at_once, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_order_is_fixed_by_seed_and_epoch_and_can_be_resumed(
    config: Config, dataset: Dataset
) -> None:
    model = new_model(config, dataset)

    def users(**order: int) -> list[np.ndarray]:
        return [b["user"].numpy() for b in batches_of(config, dataset, model, **order)]

    first, again, second = users(), users(), users(epoch=1)
    assert len(first) == dataset.manifest.records("train") // BATCH > 2
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    for one, other in zip(first[2:], users(skip_batches=2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_killed_and_resumed_equals_unbroken(config: Config, root: Path, tmp_path: Path) -> None:
    config = copy.deepcopy(config)
    config.eval.protocols = ()
    config.train.checkpoint_every_steps = 3
    whole = train_and_evaluate(config, root, tmp_path / "whole", console=QUIET)
    assert whole.steps > 4
    with killed_once_saved():
        train_and_evaluate(config, root, tmp_path / "broken", console=QUIET)
    resumed = train_and_evaluate(config, root, tmp_path / "broken", console=QUIET)
    assert resumed.steps == whole.steps
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken", rtol=1e-3, atol=1e-4)


def test_a_batch_holds_no_more_sequences_than_there_are(
    config: Config, root: Path, dataset: Dataset, tmp_path: Path
) -> None:
    config = copy.deepcopy(config)
    config.train.batch_size = dataset.manifest.records("train") + 1
    with pytest.raises(UserError, match=r"batch_size: found .* train sequences"):
        train_and_evaluate(config, root, tmp_path / "run", console=QUIET)


def test_refuses_what_wants_batches_of_one_size(config: Config) -> None:
    for name, value in (("jit_compile", True), ("distribution", Distribution.MIRRORED)):
        other = copy.deepcopy(config)
        setattr(other.train, name, value)
        with pytest.raises(UserError, match=f"config.train.{name}: found .* data.form is sequence"):
            other.validate()


def test_labels_are_each_rows_own(dataset: Dataset) -> None:
    """Read by sequences, the split holds every label once."""
    block = block_of(dataset, dataset.manifest.records("train"))
    assert len(block[ITEM]) == dataset.manifest.rows("train")
    keys = zip(
        block[USER_ID].numpy(), block[ITEM].numpy(), block["label_time"].numpy(), strict=True
    )
    assert len({*keys}) == len(block[ITEM])
    assert dataset.catalog.train_count.sum() == len(block[ITEM])
