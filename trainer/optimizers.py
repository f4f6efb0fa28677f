"""One optimisation step over two kinds of weights: embedding tables by row, the rest densely."""

import math
from typing import TypeAlias

import tensorflow as tf

from configs.schema import Train
from trainer.replicas import update_each

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices"

_SMALL_TABLE = 4_096


class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise to the peak, then half a cosine down to zero.

    Source: Loshchilov and Hutter, SGDR (2017), equation 5 without restarts.
    """

    def __init__(self, peak: float, *, warmup_steps: int, total_steps: int) -> None:
        """Peak rate, and the steps of the rise and of the whole run."""
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The rate of step 0, 1, …: scalar to float32 scalar."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1) / max(self.warmup_steps, 1)
        after = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        fall = 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(after, 0.0, 1.0)))
        return self.peak * tf.minimum(rise, fall)


def merge_duplicates(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Adds up the slices of a row that stands in the gradient more than once."""
    rows, index = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, index, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def by_row(gradient: Gradient, table: tf.Variable) -> tf.IndexedSlices:
    """The gradient of a table, each row at most once.

    All rows of a small table are in it: rows without a slice get a zero, which moves neither them
    nor their accumulators, and finding out which they are would take longer.
    """
    if isinstance(gradient, tf.IndexedSlices):
        if table.shape[0] > _SMALL_TABLE:
            return merge_duplicates(gradient)
        rows = table.shape[0]
        gradient = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return tf.IndexedSlices(gradient, tf.range(table.shape[0], dtype=tf.int64))


class RowwiseAdagrad(tf.Module):
    """Adagrad with one accumulator a row, touching only rows with a gradient.

    Source: Duchi et al. (2011); one accumulator a row as in Mudigere et al., Software-Hardware
        Co-design for Fast and Scalable Training of DLRMs (2022), section 4.1.1: the mean of the
        squared gradient over the row.
    """

    def __init__(
        self, tables: list[tf.Variable], schedule: WarmupCosine, *, initial: float = 1e-6
    ) -> None:
        """Keeps a float32 [rows] accumulator for each table [rows, dim]."""
        super().__init__(name="rowwise_adagrad")
        self.tables, self.schedule = tables, schedule
        self.accumulators = [
            tf.Variable(tf.fill([table.shape[0]], initial), trainable=False) for table in tables
        ]

    def apply(self, gradients: list[tf.IndexedSlices], step: tf.Tensor) -> None:
        """Updates the tables; gradients are merged, one for each table."""

        def update(
            table: tf.Variable, sums: tf.Variable, slices: tf.IndexedSlices, rate: tf.Tensor
        ) -> None:
            rows = slices.indices
            sums.scatter_add(tf.IndexedSlices(tf.reduce_mean(slices.values**2, -1), rows))
            scale = rate * tf.math.rsqrt(tf.gather(sums, rows))
            table.scatter_sub(tf.IndexedSlices(scale[:, tf.newaxis] * slices.values, rows))

        rate = self.schedule(step)
        for table, sums, gradient in zip(self.tables, self.accumulators, gradients, strict=True):
            update_each(table, update, sums, gradient, rate)


class AdamW(tf.Module):
    """Adam with decoupled weight decay, by TensorFlow's fused kernel.

    The arithmetic of `tf.keras.optimizers.AdamW`, which takes a dozen operations a variable where
    this takes three.

    Source: Kingma and Ba, Adam (2015), end of section 2; Loshchilov and Hutter (2019), algorithm 2.
    """

    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
    _NOT_DECAYED = ("bias", "gamma", "beta", "temperature")

    def __init__(
        self, variables: list[tf.Variable], schedule: WarmupCosine, *, weight_decay: float
    ) -> None:
        """Keeps both moments of each variable's gradient."""
        super().__init__(name="adamw")
        self.variables_, self.schedule = variables, schedule
        self._weight_decay = weight_decay
        self.first, self.second = (
            [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables] for _ in range(2)
        )

    def apply(self, gradients: list[tf.Tensor], step: tf.Tensor) -> None:
        """Updates the variables by a gradient each; `step` counts those before, int64 []."""
        rate = self.schedule(step)
        done = tf.cast(step + 1, tf.float32)
        powers = self._BETA_1**done, self._BETA_2**done

        for variable, first, second, gradient in zip(
            self.variables_, self.first, self.second, gradients, strict=True
        ):
            decay = 0.0 if any(n in variable.name for n in self._NOT_DECAYED) else 1.0
            update_each(variable, self._update_one, first, second, gradient, rate, powers, decay)

    def _update_one(
        self,
        variable: tf.Variable,
        first: tf.Variable,
        second: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        powers: tuple[tf.Tensor, tf.Tensor],
        decay: float,
    ) -> None:
        if self._weight_decay and decay:
            variable.assign_sub(variable * (self._weight_decay * rate))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=self._BETA_1,
            beta2=self._BETA_2,
            epsilon=self._EPSILON,
            grad=gradient,
        )


class Optimizer(tf.Module):
    """Row-wise Adagrad for the tables, AdamW for the rest, one clip by the norm of both.

    Attributes:
        step: int64 [], steps taken.
        warmup_steps: in which the learning rates rise.
    """

    def __init__(
        self,
        config: Train,
        *,
        tables: list[tf.Variable],
        dense: list[tf.Variable],
        total_steps: int,
    ) -> None:
        """Learning rates rise and fall over `total_steps`."""
        super().__init__(name="optimizer")
        self.clip_norm = config.clip_norm
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.warmup_steps = round(config.warmup_fraction * total_steps)
        schedules = [
            WarmupCosine(peak, warmup_steps=self.warmup_steps, total_steps=total_steps)
            for peak in (config.embedding_learning_rate, config.learning_rate)
        ]
        self.rowwise = RowwiseAdagrad(tables, schedules[0])
        self.adamw = AdamW(dense, schedules[1], weight_decay=config.weight_decay)

    def learning_rate(self) -> tf.Tensor:
        """AdamW's, of the next step: float32 []."""
        return self.adamw.schedule(self.step)

    def minimize(self, loss: tf.Tensor, tape: tf.GradientTape) -> tf.Tensor:
        """Applies one step; returns the gradient's norm before clipping, float32 [].

        Within a strategy's replicas the loss is each one's part of a sum over all.
        """
        tables, dense = self.rowwise.tables, self.adamw.variables_
        gradients = tape.gradient(loss, [*tables, *dense])
        replicas = tf.distribute.get_replica_context()
        if replicas.num_replicas_in_sync > 1:
            gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        sparse = [by_row(g, t) for g, t in zip(gradients, tables, strict=False)]
        values = [g.values for g in sparse] + gradients[len(tables) :]
        clipped, norm = tf.clip_by_global_norm(values, self.clip_norm)
        sparse = [tf.IndexedSlices(v, g.indices) for v, g in zip(clipped, sparse, strict=False)]
        self.rowwise.apply(sparse, self.step)
        self.adamw.apply(clipped[len(tables) :], self.step)
        update_each(self.step, lambda step: step.assign_add(1))
        return norm
