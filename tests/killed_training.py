"""Training that is killed once a checkpoint is saved, and the weights that a run ends with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.checkpoints import CHECKPOINTS, Checkpoints


@contextmanager
def killed_once_saved(step: int | None = None) -> Iterator[None]:
    """What trains in the block is killed when it has saved the step; None: at its first."""
    save = Checkpoints.save

    def save_and_die(self: Checkpoints, at: int, *, best: int | None = None) -> None:
        save(self, at, best=best)
        if step in (None, at):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save_and_die)
        yield


def weights_of(run: Path) -> dict[str, np.ndarray]:
    """Every variable of a run's newest checkpoint."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / CHECKPOINTS)))
    names = reader.get_variable_to_shape_map()
    return {n: reader.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")}


def assert_equal_weights(run: Path, other: Path, *, rtol: float, atol: float) -> None:
    """The newest checkpoints of two runs have the same variables with the same values."""
    expected, found = weights_of(run), weights_of(other)
    assert expected.keys() == found.keys() and expected
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=atol, err_msg=name)
