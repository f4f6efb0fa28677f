"""Which of a run's steps counts: the best by validation, or the last."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trainer.loop
from configs.errors import UserError
from configs.schema import Config, Protocol
from tests import tiny_run
from tests.damage import flip_a_bit
from tests.tiny_run import BATCH, WITHOUT_GRAPHS, tiny_config, tiny_dataset
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.reevaluation import evaluate_again
from trainer.restore import restore_run
from trainer.train import Result, train_and_evaluate
from trainer.validations import VALIDATIONS_FILE, Validations
from trainer.workdir import require_finished, told_step

STEPS_PER_EPOCH = tiny_run.STEPS_PER_EPOCH // 2  # of batches twice as large

pytestmark = WITHOUT_GRAPHS


class KilledError(Exception):
    """Stands for a kill -9."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("tiny"), tiny_config())


@pytest.fixture
def config() -> Config:
    config = tiny_config()
    config.train.keep_checkpoints = 1
    config.eval.baselines.kinds = ()
    config.train.epochs = 4
    config.train.batch_size = 2 * BATCH
    return config


class Run:
    """A run whose validations are told beforehand."""

    def __init__(self, work: Path, dataset: Path, patch: pytest.MonkeyPatch) -> None:
        self.work = work
        self.validated: list[int] = []
        self._dataset = dataset
        self._patch = patch

    def train(self, config: Config, *values: float | None) -> tuple[Result, str]:
        """Trains; the epochs' Recall@100 are `values`, None is where the run is killed."""

        def validate(config: Config, dataset: Any, model: Any, step: int, console: Any) -> Any:
            epoch = step // STEPS_PER_EPOCH - 1
            value = values[epoch] if epoch < len(values) else None
            if value is None:
                raise KilledError
            self.validated.append(step)
            return {"next": {"Recall@100": 1 - value}, "window": {"Recall@100": value}}

        self._patch.setattr(trainer.loop, "_validate", validate)
        said = io.StringIO()
        console = Console(file=said, width=1_000)
        result = train_and_evaluate(
            copy.deepcopy(config), self._dataset, self.work, console=console
        )
        return result, said.getvalue()

    def weights(self, step: int | None = None) -> tuple[np.ndarray, int]:
        """A dense weight and the step, as export and evaluation read them."""
        _, _, model, found = restore_run(self.work, step=step)
        return model.dense_weights[0].numpy(), found


@pytest.fixture
def run(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path / "run", dataset, monkeypatch)


def test_the_best_epoch_counts_for_all_that_reads_the_run(
    run: Run, config: Config, tmp_path: Path
) -> None:
    best, last = 2 * STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH
    result, said = run.train(config, 0.1, 0.4, 0.4, 0.2)
    assert result.steps == last
    assert f"the weights of step {best} are kept, the best by validation's Recall@100 by" in said
    assert result.metrics["source"] == f"run, step {best}, the best of {last}"
    assert steps_in(run.work / CHECKPOINTS) == [best, last]

    weight, step = run.weights()
    assert step == best
    assert not np.array_equal(weight, run.weights(last)[0])
    require_finished(run.work, best)
    require_finished(run.work, last)
    assert told_step(run.work, last) == f"step {last}"

    # What was measured is of those weights, and a second run of the command finds the same.
    again = evaluate_again(
        workdir=run.work, step=None, model=None, dataset_dir=None, output=tmp_path / "again",
        split="test", protocols=[Protocol.WINDOW], baselines=(), tune=False,
        compare_lists=None, console=Console(file=io.StringIO()),
    )  # fmt: skip
    assert again["source"] == result.metrics["source"]
    ours = [m["protocols"]["window"]["models"]["streamrec"] for m in (again, result.metrics)]
    assert ours[0] == ours[1]
    resumed, said = run.train(config)
    assert resumed.loss is None and resumed.metrics["protocols"] == result.metrics["protocols"]


def test_without_keep_best_the_last_step_counts(run: Run, config: Config) -> None:
    config.train.keep_best = False
    run.train(config, 0.1, 0.4, 0.4, 0.2)
    assert run.weights()[1] == 4 * STEPS_PER_EPOCH
    assert steps_in(run.work / CHECKPOINTS) == [4 * STEPS_PER_EPOCH]


def test_training_ends_where_patience_does(run: Run, config: Config) -> None:
    config.train.patience = 2
    result, said = run.train(config, 0.4, 0.2, 0.3)
    last = 3 * STEPS_PER_EPOCH
    assert result.steps == last
    assert f"step {last} of {4 * STEPS_PER_EPOCH} is the last: Recall@100 by window was" in said
    assert run.weights()[1] == STEPS_PER_EPOCH
    require_finished(run.work, STEPS_PER_EPOCH)
    require_finished(run.work, last)  # the last, where the best is lost
    again, _ = run.train(config)
    assert again.steps == last


def test_a_run_killed_before_its_validation_makes_up_for_it(run: Run, config: Config) -> None:
    for values in ((0.4, None), (None, 0.3, 0.2, None), (None, None, None, 0.1)):
        try:
            run.train(config, *values)
        except KilledError:
            newest = max(steps_in(run.work / CHECKPOINTS))
            assert run.weights()[1] == newest
            with pytest.raises(UserError, match=f"found step {newest} of .*, expected a finished"):
                require_finished(run.work, newest)
    assert run.validated == [n * STEPS_PER_EPOCH for n in (1, 2, 3, 4)]
    assert run.weights()[1] == STEPS_PER_EPOCH


def test_validations_after_the_step_that_a_run_goes_on_from_are_made_again(
    run: Run, config: Config
) -> None:
    config.train.keep_checkpoints = 3
    config.train.checkpoint_every_steps = 1_000  # at the ends of epochs alone
    with pytest.raises(KilledError):
        run.train(config, 0.1, 0.2, 0.9, None)
    noted = run.work / VALIDATIONS_FILE
    assert set(json.loads(noted.read_text())) == {str(n * STEPS_PER_EPOCH) for n in (1, 2, 3)}
    for step in (3, 4):
        flip_a_bit(run.work / CHECKPOINTS / f"ckpt-{step * STEPS_PER_EPOCH}.index")
    with pytest.raises(KilledError):
        run.train(config)
    assert set(json.loads(noted.read_text())) == {str(n * STEPS_PER_EPOCH) for n in (1, 2)}
    run.train(config, None, None, 0.05, 0.1)
    assert run.validated == [n * STEPS_PER_EPOCH for n in (1, 2, 3, 3, 4)]
    assert run.weights()[1] == 2 * STEPS_PER_EPOCH


def test_where_the_best_cannot_be_read_the_newest_counts(run: Run, config: Config) -> None:
    run.train(config, 0.1, 0.4, 0.3, 0.2)
    best = f"ckpt-{2 * STEPS_PER_EPOCH}"
    flip_a_bit(run.work / CHECKPOINTS / f"{best}.index")
    assert run.weights()[1] == 4 * STEPS_PER_EPOCH
    require_finished(run.work, 4 * STEPS_PER_EPOCH)
    _, said = run.train(config)
    assert "warning:" in said and f"{best} cannot be read" in said
    assert "are kept" not in said
    for file in (run.work / CHECKPOINTS).glob(f"{best}.*"):
        file.unlink()
    _, said = run.train(config)
    assert "warning:" in said and f"{best}, the best by validation, is not there" in said


def test_every_second_epoch_and_the_last_are_validated(run: Run, config: Config) -> None:
    config.train.epochs = 3
    config.train.validate_every_epochs = 2
    run.train(config, None, 0.1, 0.2)
    assert run.validated == [2 * STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH]


def test_a_damaged_file_is_named(tmp_path: Path, config: Config) -> None:
    path = tmp_path / VALIDATIONS_FILE
    for text in ("{", "[]", '{"five": {}}'):
        path.write_text(text)
        with pytest.raises(UserError, match=f"^{path}: found what trainer.task does not write"):
            Validations(tmp_path, config, total_steps=8)


def test_a_choice_by_what_was_not_measured_is_none(tmp_path: Path, config: Config) -> None:
    measured = {"4": {"next": {"Recall@10": 0.5}}, "8": {"next": {"Recall@10": 0.4}}}
    (tmp_path / VALIDATIONS_FILE).write_text(json.dumps(measured))
    config.eval.tune_by = "Recall@10"
    assert Validations(tmp_path, config, total_steps=8).chosen == 4  # by `next`, all there is
    assert Validations(tmp_path, config, total_steps=12).chosen is None  # not over
    config.eval.tune_by = "Recall@100"
    assert Validations(tmp_path, config, total_steps=8).chosen is None
