import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Config
from preprocessing import manifest as manifests
from tests.conftest import QUIET
from trainer.candidates import sampling_of
from trainer.checkpoints import CHECKPOINTS, Checkpoints
from trainer.dataset import open_dataset
from trainer.input import train_batches
from trainer.model import TwoTower
from trainer.optimizers import Optimizer
from trainer.train import train_and_evaluate
from trainer.workdir import METRICS_FILE


@pytest.fixture(scope="module")
def dataset(config: Config, dataset_dir: Path):
    return open_dataset(dataset_dir, config)


def batches(config: Config, dataset, model: TwoTower, **arguments) -> tf.data.Dataset:
    sampling = sampling_of(config, dataset.spec, dataset.catalog)
    return train_batches(
        dataset,
        config=config,
        sampling=sampling,
        look_up=model.look_up,
        **({"epoch": 0} | arguments),
    )


@pytest.fixture(scope="module")
def model(config: Config, dataset) -> TwoTower:
    return TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)


def test_one_step_moves_every_weight(config: Config, dataset) -> None:
    model = TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)
    optimizer = Optimizer(
        config.train, tables=model.embedding_tables, dense=model.dense_weights, total_steps=10
    )
    before = [v.numpy() for v in model.trainable_variables]
    assert len(before) == len(model.embedding_tables) + len(model.dense_weights)
    for batch in batches(config, dataset, model).take(2):  # the second sees non-zero blocks
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        optimizer.minimize(loss, tape)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(variable.numpy(), old), variable.name


def test_loss_falls_below_chance(config: Config, workdir: Path) -> None:
    metrics = json.loads((workdir / METRICS_FILE).read_text())
    window = metrics["protocols"]["window"]
    assert {"streamrec", "popularity", "EASE", "last items"} <= set(window["models"])
    assert window["models"]["streamrec"]["Recall@100"] > 100 / 600
    for values in window["models"].values():
        assert all(0 <= v <= 1 for v in values.values())


def test_batches_hold_what_the_loss_needs(config: Config, dataset, model: TwoTower) -> None:
    for batch in batches(config, dataset, model).take(2):
        rows = config.train.batch_size
        candidates = batch["candidate_item"].numpy()
        pairs = list(zip(candidates, batch["candidate_day"].numpy(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert batch["candidate_copies"].numpy().sum() == rows + config.loss.uniform_negatives
        assert candidates.min() >= 1
        distinct = batch["distinct_item"].numpy()
        np.testing.assert_array_equal(distinct[batch["candidate_index"]], candidates)
        positive = candidates[batch["positive_index"]]
        masked = np.zeros((rows, len(candidates)), bool)
        masked[tuple(batch["masked"].numpy().T)] = True
        # A row's own positive is masked wherever it stands; so are the items of its user's rows.
        for row in range(rows):
            assert set(candidates[masked[row]]) >= {positive[row]}
        np.testing.assert_array_equal(
            masked.any(1), np.ones(rows, bool), err_msg="each row masks its positive"
        )
        share = dataset.catalog.train_count[candidates] / dataset.catalog.train_count.sum()
        np.testing.assert_allclose(batch["candidate_share"], share, rtol=1e-5)


def test_order_is_fixed_by_seed_and_epoch_and_can_be_resumed(
    config: Config, dataset, model: TwoTower
) -> None:
    def items(**arguments) -> list[np.ndarray]:
        return [b["candidate_item"].numpy() for b in batches(config, dataset, model, **arguments)]

    first, again, second = items(), items(), items(epoch=1)
    assert len(first) > 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    for one, other in zip(first[2:], items(skip_batches=2), strict=True):
        np.testing.assert_array_equal(one, other)


def weights(run: Path) -> dict[str, np.ndarray]:
    """Every tensor of a run's newest checkpoint."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / CHECKPOINTS)))
    names = reader.get_variable_to_shape_map()
    return {n: reader.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")}


def test_killed_and_resumed_equals_unbroken(
    config: Config, dataset_dir: Path, tmp_path: Path
) -> None:
    config = copy.deepcopy(config)
    config.train.epochs = 1
    # Their draws are not resumed.
    config.train.history_dropout = config.train.item_id_dropout = config.model.dropout = 0.0
    config.features["history"].causal.dropout = 0.0
    config.eval.protocols = ()
    whole = train_and_evaluate(config, dataset_dir, tmp_path / "whole", console=QUIET)
    assert whole.steps > config.train.checkpoint_every_steps

    save = Checkpoints.save

    def save_and_die(self: Checkpoints, step: int) -> None:
        save(self, step)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config, dataset_dir, tmp_path / "broken", console=QUIET)
    at = tf.train.latest_checkpoint(str(tmp_path / "broken" / CHECKPOINTS))
    assert at.endswith(f"-{config.train.checkpoint_every_steps}")

    resumed = train_and_evaluate(config, dataset_dir, tmp_path / "broken", console=QUIET)
    assert resumed.steps == whole.steps
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_refuses_other_features(config: Config, dataset_dir: Path, tmp_path: Path) -> None:
    other = copy.deepcopy(config)
    other.features["history"].max_length = 51
    with pytest.raises(UserError, match=r"features\.history\.max_length: found 50, expected 51"):
        train_and_evaluate(other, dataset_dir, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_refuses_a_directory_without_manifest(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=manifests.MANIFEST):
        train_and_evaluate(config, tmp_path, tmp_path / "run", console=QUIET)


def test_refuses_a_batch_larger_than_the_data(
    config: Config, dataset_dir: Path, tmp_path: Path
) -> None:
    other = copy.deepcopy(config)
    other.train.batch_size = 1_000_000
    with pytest.raises(UserError, match=r"config\.train\.batch_size: found 1000000"):
        train_and_evaluate(other, dataset_dir, tmp_path / "run", console=QUIET)


def test_refuses_to_resume_with_another_config(
    config: Config, dataset_dir: Path, workdir: Path
) -> None:
    other = copy.deepcopy(config)
    other.train.learning_rate *= 2
    with pytest.raises(UserError, match=r"another config\.train: learning_rate: found 0\.001, "):
        train_and_evaluate(other, dataset_dir, workdir, console=QUIET)
