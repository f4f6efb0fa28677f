"""The training step: gradients of a batch, one move of every weight."""

from collections.abc import Iterator, Mapping

import tensorflow as tf

from trainer.model import TwoTower
from trainer.optimizers import Optimizer


class TrainStep:
    """Takes steps, several in one call if asked to, on all replicas of a strategy.

    Attributes:
        model: whose weights move.
        optimizer: what moves them.
    """

    def __init__(
        self, model: TwoTower, optimizer: Optimizer, strategy: tf.distribute.Strategy
    ) -> None:
        """Model and optimiser were made in the strategy's scope."""
        self.model, self.optimizer, self._strategy = model, optimizer, strategy
        self._take = tf.function(self._steps, reduce_retracing=True)

    def __call__(
        self, batches: Iterator[Mapping[str, tf.Tensor]], count: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes the next steps.

        Args:
            batches: iterator of `trainer.input.train_batches`, with as many batches left.
            count: of steps.

        Returns:
            The loss of each step and its gradient's norm before clipping: float32 [count] twice.
        """
        return self._take(batches, tf.constant(count))

    def _steps(
        self, batches: Iterator[Mapping[str, tf.Tensor]], count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses, norms = (tf.TensorArray(tf.float32, count) for _ in range(2))
        for at in tf.range(count):
            loss, norm = self.on_batch(next(batches))
            losses, norms = losses.write(at, loss), norms.write(at, norm)
        return losses.stack(), norms.stack()

    def on_batch(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """One step: the loss over all replicas and the gradient's norm, float32 [] twice."""
        loss, norm = self._strategy.run(self._on_replica, args=(batch,))
        reduce = self._strategy.reduce
        summed = reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)
        return summed, reduce(tf.distribute.ReduceOp.MEAN, norm, axis=None)

    def _on_replica(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        model, optimizer = self.model, self.optimizer
        with tf.GradientTape() as tape:
            warm = optimizer.step >= optimizer.warmup_steps
            loss = model.compute_loss(batch, training=True, use_memory=warm)
        return loss, optimizer.minimize(loss, tape)
