import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import trainer.train
from configs.errors import UserError
from configs.schema import Config
from preprocessing import manifest as manifests
from tests.fresh_model import batches_of, names_of_unmoved, new_model
from tests.killed_training import assert_equal_weights, killed_once_saved
from tests.quiet import QUIET
from trainer.checkpoints import CHECKPOINTS
from trainer.dataset import open_dataset
from trainer.model import TwoTower
from trainer.restore import restore_run
from trainer.train import train_and_evaluate
from trainer.workdir import METRICS_FILE


@pytest.fixture(scope="module")
def dataset(config: Config, dataset_dir: Path):
    return open_dataset(dataset_dir, config)


@pytest.fixture(scope="module")
def model(config: Config, dataset) -> TwoTower:
    return new_model(config, dataset)


def test_one_step_moves_every_weight(config: Config, dataset) -> None:
    model = new_model(config, dataset)
    assert len(model.trainable_variables) == len(model.embedding_tables) + len(model.dense_weights)
    # The second batch sees blocks that are not zero any more.
    assert not names_of_unmoved(config, model, batches_of(config, dataset, model).take(2))


def test_recall_is_above_chance(workdir: Path) -> None:
    metrics = json.loads((workdir / METRICS_FILE).read_text())
    window = metrics["protocols"]["window"]
    assert {"streamrec", "popularity", "EASE", "last items"} <= set(window["models"])
    assert window["models"]["streamrec"]["Recall@100"] > 100 / 600
    for values in window["models"].values():
        assert all(0 <= v <= 1 for v in values.values())


def test_batches_hold_what_the_loss_needs(config: Config, dataset, model: TwoTower) -> None:
    for batch in batches_of(config, dataset, model).take(2):
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
    def items(**order: int) -> list[np.ndarray]:
        return [b["candidate_item"].numpy() for b in batches_of(config, dataset, model, **order)]

    first, again, second = items(), items(), items(epoch=1)
    assert len(first) > 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    for one, other in zip(first[2:], items(skip_batches=2), strict=True):
        np.testing.assert_array_equal(one, other)


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
    with killed_once_saved():
        train_and_evaluate(config, dataset_dir, tmp_path / "broken", console=QUIET)
    at = tf.train.latest_checkpoint(str(tmp_path / "broken" / CHECKPOINTS))
    assert at.endswith(f"-{config.train.checkpoint_every_steps}")

    resumed = train_and_evaluate(config, dataset_dir, tmp_path / "broken", console=QUIET)
    assert resumed.steps == whole.steps
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken", rtol=1e-3, atol=1e-4)


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


def _learns_faster(config: Config) -> None:
    config.train.learning_rate *= 2


def _holds_wider_countries(config: Config) -> None:
    config.features["country"].dim = 7


def _pools_other_windows(config: Config) -> None:
    config.features["history"].windows = (2,)


def _names_features_in_another_order(config: Config) -> None:
    config.features = dict(reversed(config.features.items()))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            _names_features_in_another_order,
            r"config\.features: found '\w+' where '\w+' is expected",
        ),
        (_learns_faster, r"config\.train\.learning_rate: found 0\.001, expected 0\.002"),
        (_holds_wider_countries, r"config\.features\.country\.dim: found \d+, expected 7"),
        (_pools_other_windows, r"config\.features\.history\.windows: found \[.*\], expected \[2\]"),
    ],
)
def test_refuses_to_resume_with_another_config(
    config: Config,
    dataset_dir: Path,
    workdir: Path,
    change: Callable[[Config], None],
    expected: str,
) -> None:
    other = copy.deepcopy(config)
    change(other)
    before = contents_of(workdir)
    with pytest.raises(UserError, match=rf"^--workdir={workdir}: .* another config: {expected}"):
        train_and_evaluate(other, dataset_dir, workdir, console=QUIET)
    assert contents_of(workdir) == before
    restore_run(workdir)


def test_a_run_that_cannot_start_claims_no_workdir(
    config: Config, dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, nothing = tmp_path / "run", tmp_path / "nothing"
    with pytest.raises(UserError, match=rf"^--init_from={nothing}: found no run\.json in it"):
        train_and_evaluate(config, dataset_dir, run, console=QUIET, initial_run=nothing)
    assert not run.exists()

    def no_model(*found: object, **more: object) -> None:
        raise ValueError("a shape")

    monkeypatch.setattr(trainer.train, "TwoTower", no_model)
    with pytest.raises(ValueError, match="a shape"):
        train_and_evaluate(config, dataset_dir, run, console=QUIET)
    assert not run.exists()


def contents_of(directory: Path) -> dict[Path, tuple[int, int]]:
    """Every file below it, with its size and the time that it was written."""
    stats = {file: file.stat() for file in directory.rglob("*") if file.is_file()}
    return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}
