"""One optimisation step over two kinds of weights: embedding tables by row, the rest densely."""

import math

import tensorflow as tf

from configs.schema import Train

Gradient = tf.Tensor | tf.IndexedSlices


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
        rate = self.schedule(step)
        for table, sums, gradient in zip(self.tables, self.accumulators, gradients, strict=True):
            rows = gradient.indices
            sums.scatter_add(tf.IndexedSlices(tf.reduce_mean(gradient.values**2, -1), rows))
            scale = rate * tf.math.rsqrt(tf.gather(sums, rows))
            table.scatter_sub(tf.IndexedSlices(scale[:, tf.newaxis] * gradient.values, rows))


class Optimizer(tf.Module):
    """Row-wise Adagrad for the tables, AdamW for the rest, one clip by the norm of both."""

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
        self.dense = dense
        self.adamw = tf.keras.optimizers.AdamW(
            schedules[1], weight_decay=config.weight_decay, jit_compile=False
        )
        self.adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "temperature"])
        self.adamw.build(dense)

    def minimize(self, loss: tf.Tensor, tape: tf.GradientTape) -> tf.Tensor:
        """Applies one step; returns the gradient's norm before clipping, float32 []."""
        gradients = tape.gradient(loss, [*self.rowwise.tables, *self.dense])
        count = len(self.rowwise.tables)
        sparse = [
            merge_duplicates(g if isinstance(g, tf.IndexedSlices) else _all_rows(g))
            for g in gradients[:count]
        ]
        values = [g.values for g in sparse] + gradients[count:]
        clipped, norm = tf.clip_by_global_norm(values, self.clip_norm)
        sparse = [
            tf.IndexedSlices(v, g.indices) for v, g in zip(clipped[:count], sparse, strict=True)
        ]
        self.rowwise.apply(sparse, self.step)
        self.adamw.apply_gradients(zip(clipped[count:], self.dense, strict=True))
        self.step.assign_add(1)
        return norm


def _all_rows(gradient: tf.Tensor) -> tf.IndexedSlices:
    return tf.IndexedSlices(gradient, tf.range(tf.shape(gradient)[0], dtype=tf.int64))
