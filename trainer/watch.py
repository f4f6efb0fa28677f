"""What makes a run stop by itself: a loss that is no number, items that all look alike."""

import math

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from trainer.model import TwoTower
from trainer.spikes import LossSpikes

COLLAPSED_CHECKS = 3
"""Checks in a row above `train.max_item_cosine`, without moving apart, that stop a run."""
MOVED_APART = 0.005
"""By how much less than at the check before a mean cosine is where items move apart."""


class DivergedError(UserError):
    """The model is past mending; the checkpoints before are good."""


class Watch:
    """Looks at every step's loss and gradient, and now and then at the items' vectors.

    Attributes:
        suspicious: whether the items looked collapsed at the last check; a checkpoint written now
            might push the last good one out.
    """

    def __init__(self, *, max_item_cosine: float, warmup_steps: int) -> None:
        """Items may be as alike as they like until `warmup_steps`."""
        self._max_item_cosine = max_item_cosine
        self._warmup_steps = warmup_steps
        self._unread: list[tuple[int, tf.Tensor, tf.Tensor]] = []
        self._losses: list[float] = []
        self._spikes = LossSpikes()
        self._cosine = 0.0
        self._collapsed_checks = 0

    @property
    def suspicious(self) -> bool:
        """See the class."""
        return self._collapsed_checks > 0

    def add(self, first: int, losses: tf.Tensor, gradient_norms: tf.Tensor) -> None:
        """Notes steps from `first` on without waiting for their results, both float32 [steps]."""
        self._unread.append((first, losses, gradient_norms))

    def require_finite(self, *, last_good: str) -> None:
        """Reads what was noted since the last call.

        Raises:
            DivergedError: a loss or the norm of a gradient is NaN or infinite; names the step.
        """
        for first, losses, norms in self._unread:
            pairs = zip(losses.numpy().tolist(), norms.numpy().tolist(), strict=True)
            for step, (loss, norm) in enumerate(pairs, first):
                for what, value in (("loss", loss), ("gradient norm", norm)):
                    if not math.isfinite(value):
                        raise DivergedError(
                            f"step {step}: found a {what} of {value}, expected a finite one; the "
                            f"last good checkpoint is {last_good}"
                        )
                self._losses.append(loss)
                self._spikes.add(loss)
        self._unread.clear()

    def take_mean_loss(self) -> float:
        """Mean loss of the steps that were read since the last call; at least one was."""
        mean = float(np.mean(self._losses))
        self._losses.clear()
        return mean

    def take_spikes(self) -> int:
        """How many steps that were read since the last call had a loss that stood out."""
        return self._spikes.take()

    def check_cosine(self, step: int, cosine: float, *, last_good: str) -> None:
        """Takes `mean_cosine` at a step.

        Items that move apart have not collapsed, however close popularity has brought them before.

        Raises:
            DivergedError: it is the third check in a row after warm-up that is above the bound and
                not `MOVED_APART` below the one before.
        """
        apart = cosine < self._cosine - MOVED_APART
        self._cosine = cosine
        collapsed = step > self._warmup_steps and cosine > self._max_item_cosine and not apart
        self._collapsed_checks = self._collapsed_checks + 1 if collapsed else 0
        if self._collapsed_checks == COLLAPSED_CHECKS:
            raise DivergedError(
                f"step {step}: found a mean cosine between items of {cosine:.3f} at "
                f"{COLLAPSED_CHECKS} checks in a row, expected at most {self._max_item_cosine} "
                "(config.train.max_item_cosine): the embeddings have collapsed, or, if validation "
                "got better, only lie close along what is popular: then train with 1 in a new "
                f"workdir; the last good checkpoint is {last_good}"
            )


def mean_cosine(model: TwoTower, *, day: int, sample: int = 256) -> float:
    """Mean cosine between the vectors of items; near 1 the model has collapsed.

    Args:
        model: whose item tower is asked.
        day: as of its start; one of the log, or features by day are the same for every item.
        sample: so many known items, evenly spaced by train count.
    """
    ids = np.linspace(1, model.num_known, min(sample, model.num_known)).astype(np.int64)
    days = tf.fill([len(ids)], tf.constant(day, tf.int64))
    vectors = model.embed_items(tf.constant(ids), days).numpy()
    count = len(vectors)
    if count < 2:
        return 0.0
    return float((np.square(vectors.sum(0)).sum() - count) / (count * (count - 1)))
