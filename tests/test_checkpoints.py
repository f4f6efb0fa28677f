"""Checkpoints on damaged and full disks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from tests.damage import file_system, flip_a_bit
from trainer.checkpoints import Checkpoints, newest_readable, path_of, problem_of, steps_in

ROWS = 3_000


def checkpoints(workdir: Path, *, keep: int = 3) -> tuple[Checkpoints, tf.Variable]:
    """Checkpoints of one variable."""
    variable = tf.Variable(np.zeros(ROWS, np.float32))
    return Checkpoints(workdir, tf.train.Checkpoint(weight=variable), keep=keep), variable


def save(saved: Checkpoints, variable: tf.Variable, *steps: int) -> None:
    """Saves with each step's number as the weight."""
    for step in steps:
        variable.assign(tf.fill([ROWS], float(step)))
        saved.save(step)


def restore(workdir: Path) -> tuple[int | None, float, list[str]]:
    """Restores in a fresh object: the step, the weight, the warnings."""
    saved, variable = checkpoints(workdir)
    warnings: list[str] = []
    step = saved.restore_newest(warn=warnings.append)
    return step, float(variable[-1]), warnings


def test_the_newest_come_back_and_the_rest_are_swept(tmp_path: Path) -> None:
    assert restore(tmp_path) == (None, 0.0, [])
    saved, variable = checkpoints(tmp_path, keep=2)
    save(saved, variable, 5, 10, 100)
    assert steps_in(saved.directory) == [10, 100]
    assert restore(tmp_path) == (100, 100.0, [])
    # TensorFlow's own tools find it too.
    assert tf.train.latest_checkpoint(str(saved.directory)) == str(path_of(saved.directory, 100))


def test_without_the_state_file_nothing_is_lost(tmp_path: Path) -> None:
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 5, 10)
    (saved.directory / "checkpoint").unlink()
    assert restore(tmp_path) == (10, 10.0, [])


@pytest.mark.parametrize("name", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "cut by one", "bit 1", "bit 2", "bit 3"]
)
def test_a_damaged_newest_is_passed_over_with_a_warning(
    tmp_path: Path, name: str, damage: str
) -> None:
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 5, 10)
    file = saved.directory / f"ckpt-10.{name}"
    body = file.read_bytes()
    match damage:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(body[: len(body) // 2])
        case "cut by one":
            file.write_bytes(body[:-1])
        case _:
            flip_a_bit(file, len(body) * {"bit 1": 1, "bit 2": 4, "bit 3": 7}[damage] // 10)
    step, weight, warnings = restore(tmp_path)
    assert (step, weight) == (5, 5.0)
    assert len(warnings) == 1 and str(path_of(saved.directory, 10)) in warnings[0]


def test_every_bit_of_the_data_is_watched(tmp_path: Path) -> None:
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 1)
    path = path_of(saved.directory, 1)
    file = Path(f"{path}.data-00000-of-00001")
    body = file.read_bytes()
    for at in np.random.default_rng(0).integers(len(body), size=30):
        flip_a_bit(file, at)
        assert problem_of(path) is not None, at
        file.write_bytes(body)
    assert problem_of(path) is None


def test_none_readable_is_an_error_and_not_step_0(tmp_path: Path) -> None:
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 5, 10)
    for step in (5, 10):
        (saved.directory / f"ckpt-{step}.index").write_bytes(b"no index")
    with pytest.raises(UserError, match="found 2 checkpoints, none of which can be read"):
        restore(tmp_path)
    warned: list[str] = []
    with pytest.raises(UserError):
        newest_readable(saved.directory, warn=warned.append)
    assert len(warned) == 2


def test_saving_after_a_damaged_one_keeps_what_is_good(tmp_path: Path) -> None:
    """The damaged one is newer than the next to be saved: it must not push the good ones out."""
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 5, 10)
    flip_a_bit(saved.directory / "ckpt-10.data-00000-of-00001")
    again, variable = checkpoints(tmp_path, keep=1)
    assert again.restore_newest(warn=lambda text: None) == 5
    save(again, variable, 7)
    assert steps_in(saved.directory) == [7]
    assert restore(tmp_path) == (7, 7.0, [])


def test_a_save_that_was_killed_leaves_the_one_before(tmp_path: Path) -> None:
    saved, variable = checkpoints(tmp_path)
    save(saved, variable, 5)
    # What TensorFlow has written of a checkpoint before its index.
    data = (saved.directory / "ckpt-5.data-00000-of-00001").read_bytes()
    (saved.directory / "ckpt-9.data-00000-of-00001").write_bytes(data[:100])
    step, weight, warnings = restore(tmp_path)
    assert (step, weight, len(warnings)) == (5, 5.0, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with file_system(tmp_path, "64k") as disk:
        yield disk


def test_a_full_disk_leaves_the_last_good_checkpoint(small_disk: Path) -> None:
    saved, variable = checkpoints(small_disk)
    save(saved, variable, 5, 10)
    rest = small_disk / "filler"
    with pytest.raises(OSError), open(rest, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4_096)
    with pytest.raises(UserError, match=r"step 15: .* the last good checkpoint is .*ckpt-10"):
        save(saved, variable, 15)
    assert restore(small_disk) == (10, 10.0, [])
    rest.unlink()
    save(saved, variable, 20)
    assert restore(small_disk) == (20, 20.0, [])
