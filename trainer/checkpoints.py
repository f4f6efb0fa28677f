"""The checkpoints of a run: written whole or not at all, read from the newest that is whole.

What is there is what the directory holds. TensorFlow's state file, `checkpoint`, is written for
tools that look for it, and never read: with it gone `tf.train.latest_checkpoint` finds nothing,
and `CheckpointManager` raises on a corrupt newest checkpoint instead of taking the one before.
"""

import re
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from configs.errors import UserError
from configs.files import write_text

CHECKPOINTS = "checkpoints"
"""Directory below a run's."""

_FILE = re.compile(r"ckpt-(\d+)\.(?:index|data-.*)")
_STATE_FILE = "checkpoint"

Warn = Callable[[str], None]


class Checkpoints:
    """Saves a run's state by step and restores it.

    Attributes:
        directory: that the checkpoints are in.
        newest: step of the newest one that was written or restored; None before the first.
        writes: whether this process is the one that writes them.
    """

    def __init__(
        self, workdir: Path, checkpoint: tf.train.Checkpoint, *, keep: int, writes: bool = True
    ) -> None:
        """Keeps the `keep` newest below `workdir`; where another process writes, only reads."""
        self.directory = workdir / CHECKPOINTS
        self.newest: int | None = None
        self._checkpoint = checkpoint
        self._keep = keep
        self.writes = writes

    def restore_newest(self, *, warn: Warn) -> int | None:
        """Restores the newest readable checkpoint, and returns its step; None if there is none.

        Raises:
            UserError: there are checkpoints, none of which can be read.
        """
        self.newest = newest_readable(self.directory, warn=warn)
        if self.newest is not None:
            path = path_of(self.directory, self.newest)
            self._checkpoint.read(str(path)).assert_existing_objects_matched()
        return self.newest

    def save(self, step: int, *, best: int | None = None) -> None:
        """Writes the checkpoint of a step, then sweeps what is older than the newest `keep`.

        Checkpoints of later steps go too: they were unreadable, or this run would not be here.

        Args:
            step: of the checkpoint.
            best: step of an earlier one that stays, however old.

        Raises:
            UserError: it cannot be written, for want of space or otherwise; those before it are
                as they were.
        """
        if not self.writes:
            self.newest = step
            return
        try:
            self._checkpoint.write(str(path_of(self.directory, step)))
        except tf.errors.OpError as error:
            self._remove(step)
            raise UserError(
                f"step {step}: no checkpoint could be written to {self.directory}: "
                f"{error.message}; the last good checkpoint is {self.last_good}"
            ) from None
        self.newest = step
        steps = steps_in(self.directory)
        newest = [each for each in steps if each <= step][-self._keep :]
        kept = [each for each in steps if each in newest or each == best]
        for each in steps:
            if each not in kept:
                self._remove(each)
        _write_state_file(self.directory, kept)

    @property
    def last_good(self) -> str:
        """The newest checkpoint's path, for messages."""
        return "none" if self.newest is None else str(path_of(self.directory, self.newest))

    def _remove(self, step: int) -> None:
        for file in self.directory.glob(f"ckpt-{step}.*"):
            file.unlink()


def path_of(directory: Path, step: int) -> Path:
    """The prefix of a checkpoint's files, as TensorFlow names a checkpoint."""
    return directory / f"ckpt-{step}"


def read_weights(directory: Path, step: int, model: tf.Module) -> None:
    """Gives a model its weights of a step, whose checkpoint can be read."""
    checkpoint = tf.train.Checkpoint(model=model)
    path = path_of(directory, step)
    checkpoint.read(str(path)).expect_partial().assert_existing_objects_matched()


def steps_in(directory: Path) -> list[int]:
    """Steps that the directory holds files of, ascending; whole or not."""
    names = [_FILE.fullmatch(file.name) for file in directory.glob("ckpt-*")]
    return sorted({int(name[1]) for name in names if name})


def newest_readable(directory: Path, *, warn: Warn, first: int | None = None) -> int | None:
    """The newest step whose checkpoint can be read to its last byte; None if there are no files.

    Args:
        directory: that the checkpoints are in.
        warn: told of each one that is passed over since it cannot be read, and why.
        first: the step that is taken before the newest.

    Raises:
        UserError: there are checkpoints, none of which can be read.
    """
    steps = steps_in(directory)
    if first is not None and first not in steps:
        warn(f"{path_of(directory, first)}, the best by validation, is not there")
    for step in sorted(steps, key=lambda each: (each == first, each), reverse=True):
        problem = problem_of(path_of(directory, step))
        if problem is None:
            return step
        warn(f"{path_of(directory, step)} cannot be read and is passed over: {problem}")
    if steps:
        raise UserError(
            f"{directory}: found {len(steps)} checkpoints, none of which can be read; expected "
            "one, or an empty directory to start from step 0"
        )
    return None


def problem_of(path: Path) -> str | None:
    """Why a checkpoint cannot be read; None if it can. Reads every tensor against its checksum."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    # The reader turns TensorFlow's errors into Python's; one that ends too early is an IndexError.
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return None


def _write_state_file(directory: Path, steps: list[int]) -> None:
    """TensorFlow's CheckpointState, as text."""
    lines = [f'all_model_checkpoint_paths: "{path_of(directory, s).name}"' for s in steps]
    lines.insert(0, f'model_checkpoint_path: "{path_of(directory, steps[-1]).name}"')
    write_text(directory / _STATE_FILE, "\n".join(lines) + "\n")
