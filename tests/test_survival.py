"""Training that survives: what a run does when it is stopped, fed rubbish, or loses its way."""

import copy
import io
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from rich.console import Console

import trainer.loop
from configs import cli
from configs.errors import EXIT_INTERRUPTED, Interrupted, UserError
from configs.schema import Config, Protocol
from preprocessing import manifest as manifests
from preprocessing.manifest import Verify
from serving.exporter import export
from tests.damage import flip_a_bit
from tests.fresh_model import new_model
from tests.quiet import QUIET
from tests.tiny_run import STEPS_PER_EPOCH, WITHOUT_GRAPHS, tiny_config, tiny_dataset
from trainer.checkpoints import CHECKPOINTS, steps_in
from trainer.dataset import open_dataset
from trainer.model import TwoTower
from trainer.reevaluation import evaluate_again
from trainer.restore import restore_run
from trainer.train import Result, train_and_evaluate
from trainer.watch import DivergedError, Watch, mean_cosine
from trainer.workdir import FAILED_FILE, METRICS_FILE, require_finished

STEPS = 2 * STEPS_PER_EPOCH

pytestmark = WITHOUT_GRAPHS


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config()


@pytest.fixture(scope="module")
def dataset(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("tiny"), config)


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """A dataset that may be damaged."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


def train(config: Config, dataset: Path, run: Path, **more: Any) -> tuple[Result, str]:
    """Trains; returns what it came to and what it said."""
    said = Console(file=io.StringIO(), width=1_000)
    config = copy.deepcopy(config)
    config.eval.protocols = ()
    try:
        return train_and_evaluate(config, dataset, run, console=said, **more), said.file.getvalue()
    finally:
        print(said.file.getvalue())


def test_sigterm_saves_at_the_step_and_the_same_command_goes_on(
    config: Config, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGTERM)
    looked = trainer.loop.mean_cosine

    def terminate(*found: Any, **more: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)  # amid the work of step 2
        return looked(*found, **more)

    monkeypatch.setattr(trainer.loop, "mean_cosine", terminate)
    with pytest.raises(Interrupted, match=f"SIGTERM at step 2 of {STEPS}.* from .*ckpt-2"):
        train(config, dataset, run)
    assert signal.getsignal(signal.SIGTERM) is before
    assert steps_in(run / CHECKPOINTS) == [2]
    monkeypatch.undo()
    refuses_to_export_but_evaluates(run, step=2)

    # And on from there: the newest is damaged meanwhile, which costs a warning and two steps.
    monkeypatch.setattr(trainer.loop, "_validate", lambda *found: os.kill(os.getpid(), 15))
    with pytest.raises(Interrupted):  # at the first validation: at once, its epoch is saved
        train(config, dataset, run)
    assert steps_in(run / CHECKPOINTS) == [4, 6]
    monkeypatch.undo()
    newest = run / CHECKPOINTS / "ckpt-6.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:-9])
    (run / CHECKPOINTS / "checkpoint").unlink()
    result, said = train(config, dataset, run)
    assert "warning:" in said and "ckpt-6 cannot be read" in said
    assert "resumed from" in said and "ckpt-4" in said
    assert result.steps == STEPS and result.loss is not None

    # Once more, with nothing left to do.
    again, said = train(config, dataset, run)
    assert again.steps == STEPS and again.loss is None
    assert f"ckpt-{STEPS}" in said
    require_finished(run, STEPS)


def refuses_to_export_but_evaluates(run: Path, *, step: int) -> None:
    """What becomes of a run that stopped at a step."""
    models = run.parent / "models"
    with pytest.raises(
        UserError, match=f"^--workdir={run}: found step {step} of {STEPS}, expected a finished run"
    ):
        export(run, models, console=QUIET)
    assert not models.exists()
    said = Console(file=io.StringIO(), width=1_000)
    output = run.parent / "evaluation"
    evaluate_again(
        workdir=run, step=None, model=None, dataset_dir=None, output=output, split="test",
        protocols=[Protocol.WINDOW], baselines=(), tune=False, compare_lists=None,
        console=said,
    )  # fmt: skip
    assert f"{run}: the checkpoint of step {step} of {STEPS}" in said.file.getvalue()
    assert f"step {step} of {STEPS}" in (output / "report.html").read_text()


def test_an_interrupted_command_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(argv: list[str]) -> None:
        raise Interrupted("SIGTERM at step 3")

    codes: list[int] = []
    monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: codes.append(main(["command"])))
    cli.run_app(stopped)
    assert codes == [EXIT_INTERRUPTED] and EXIT_INTERRUPTED not in (0, 1, 143)
    assert capsys.readouterr().err == "interrupted: SIGTERM at step 3\n"


def train_file(dataset: Path) -> Path:
    """One of the train files, by the manifest."""
    return dataset / manifests.read(dataset).part("train")[0].name


@pytest.mark.parametrize("kept", [0, 1, 8, 11, 12, 500, -4, -1])
def test_a_truncated_file_is_named_before_training(
    config: Config, copied: Path, tmp_path: Path, kept: int
) -> None:
    """Cut in the first record's length, its checksum, its body, before the last checksum, in it."""
    file = train_file(copied)
    file.write_bytes(file.read_bytes()[:kept])
    for verify in Verify:
        with pytest.raises(UserError, match=rf"{file.name}: found \d+ bytes, expected"):
            train(config, copied, tmp_path / "run", verify=verify)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("at", [0, 8, 12, 700, -5, -1])
def test_a_flipped_bit_is_named_before_training(
    config: Config, copied: Path, tmp_path: Path, at: int
) -> None:
    file = train_file(copied)
    flip_a_bit(file, at)
    with pytest.raises(UserError, match=rf"{file.name}: found sha256"):
        train(config, copied, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_flipped_bit_found_late_is_named_all_the_same(
    config: Config, copied: Path, tmp_path: Path
) -> None:
    file = train_file(copied)
    flip_a_bit(file, 700)
    with pytest.raises(UserError, match=rf"{file.name}: found sha256"):
        train(config, copied, tmp_path / "run", verify=Verify.SIZE)
    assert steps_in(tmp_path / "run" / CHECKPOINTS) == []


def test_a_missing_file_is_named(config: Config, copied: Path, tmp_path: Path) -> None:
    file = train_file(copied)
    file.unlink()
    with pytest.raises(UserError, match=rf"{file.name}: found nothing, expected \d+ bytes"):
        train(config, copied, tmp_path / "run", verify=Verify.SIZE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(
    config: Config, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    step = tf.Variable(0, dtype=tf.int64)
    compute_loss = TwoTower.compute_loss

    def breaks_at_7(model: TwoTower, *found: Any, **more: Any) -> tf.Tensor:
        return compute_loss(model, *found, **more) * tf.where(step.assign_add(1) == 7, value, 1.0)

    monkeypatch.setattr(TwoTower, "compute_loss", breaks_at_7)
    run = tmp_path / "run"
    with pytest.raises(UserError, match="step 7: found a loss of .* last good checkpoint is .*6"):
        train(config, dataset, run)
    assert steps_in(run / CHECKPOINTS) == [4, 6]
    assert not (run / METRICS_FILE).exists()
    with pytest.raises(UserError, match="its training failed: step 7"):
        restore_run(run)  # and so no export
    if value != value:
        return
    monkeypatch.undo()
    result, _ = train(config, dataset, run)
    assert result.steps == STEPS and not (run / FAILED_FILE).exists()
    restore_run(run)


def test_a_gradient_that_is_no_number_stops_before_it_is_saved(
    config: Config, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_loss = TwoTower.compute_loss

    @tf.custom_gradient
    def poisoned(loss: tf.Tensor) -> Any:
        return tf.identity(loss), lambda upstream: upstream * float("nan")

    monkeypatch.setattr(
        TwoTower, "compute_loss", lambda *found, **more: poisoned(compute_loss(*found, **more))
    )
    with pytest.raises(UserError, match="step 1: found a gradient norm of nan"):
        train(config, dataset, tmp_path / "run")
    assert steps_in(tmp_path / "run" / CHECKPOINTS) == []


def test_collapsed_items_stop_the_run_and_spare_the_last_good_checkpoint(
    config: Config, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(config)
    config.train.max_item_cosine = 0.9
    cosines = iter([0.95, 0.3, 0.95, 0.2, 0.95, 0.95])  # at steps 2, 4, …; one alone is forgiven
    monkeypatch.setattr(trainer.loop, "mean_cosine", lambda model, day: next(cosines))
    result, _ = train(config, dataset, tmp_path / "forgiven")
    assert result.steps == STEPS

    cosines = iter([0.3, 0.3, 0.95, 0.96, 0.97])
    run = tmp_path / "run"
    with pytest.raises(
        UserError,
        match=r"step 10: found a mean cosine between items of 0\.970 .* with 1 in a new .*ckpt-4",
    ):
        train(config, dataset, run)
    assert steps_in(run / CHECKPOINTS) == [4]  # not 6 nor 8, where it looked collapsed already
    with pytest.raises(UserError, match="its training failed"):
        restore_run(run)


def watched(*cosines: float) -> None:
    """Takes them at a check each, long after warm-up."""
    watch = Watch(max_item_cosine=0.9, warmup_steps=0)
    for number, cosine in enumerate(cosines, 1):
        watch.check_cosine(number, cosine, last_good="none")


def test_items_that_move_apart_have_not_collapsed() -> None:
    watched(0.98, 0.97, 0.96, 0.95, 0.94, 0.93)
    watched(0.91, 0.95, 0.94, 0.95, 0.95, 0.93)
    for still in ((0.98, 0.98), (0.95, 0.949), (0.97, 0.96, 0.96, 0.97, 0.96, 0.99, 0.991)):
        watched(*still)
        with pytest.raises(DivergedError, match=r"cosine between items of 0\.992"):
            watched(*still, 0.992)


def test_items_that_all_look_alike_have_collapsed(config: Config, dataset: Path) -> None:
    opened = open_dataset(dataset, config)
    model = new_model(config, opened)
    day = opened.manifest.splits.last_day
    assert mean_cosine(model, day=day) < 0.9
    for table in model.items.submodules:
        if isinstance(table, tf.Module) and hasattr(table, "table"):
            table.table.assign(tf.ones_like(table.table))
    assert mean_cosine(model, day=day) > 0.999


def run_small(tmp_path: Path, config: Config, **log: int) -> dict[str, Any]:
    """Preprocesses, trains and evaluates a log of so many users and videos."""
    dataset = tiny_dataset(tmp_path, config, **log)
    return train_and_evaluate(
        config, dataset, tmp_path / "run", console=Console(quiet=True)
    ).metrics["protocols"]


def test_an_empty_validation_and_one_user(tmp_path: Path) -> None:
    config = tiny_config(validation_fraction=0.85)  # test begins where train ends
    config.eval.exclude_seen = False
    protocols = run_small(tmp_path, config, users=1, videos=30, events=200)
    assert protocols["window"]["queries"] == 1
    model = protocols["window"]["models"]["streamrec"]
    assert model["HR@200"] == model["Recall@200"] == 1.0  # all 30 are in the list


def test_one_item_in_the_catalog(tmp_path: Path) -> None:
    config = tiny_config()
    config.eval.exclude_seen = False
    protocols = run_small(tmp_path, config, users=20, videos=1, events=200)
    for name, metrics in protocols["window"]["models"].items():
        assert metrics["HR@10"] == 1.0, name
        assert metrics["NDCG@10"] == pytest.approx(1.0), name
