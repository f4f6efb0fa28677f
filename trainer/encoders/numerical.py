"""Encoders of numbers, times and vectors."""

import math
from collections.abc import Mapping

import tensorflow as tf

from configs.kinds import Bucketized, Cyclical, Entity, LogZScore, Period
from preprocessing.columns import SECONDS_PER_DAY, TIMESTAMP
from trainer.day_statistics import DayStatistics
from trainer.encoders.base import Encoder, Raw
from trainer.encoders.tables import EmbeddingTable


class BucketizedEncoder(Encoder):
    """An embedding for each interval between boundaries; a boundary begins its interval."""

    def __init__(self, name: str, feature: Bucketized, *, seed: int) -> None:
        """One more interval than boundaries."""
        super().__init__(name, feature)
        self.boundaries = tuple(float(b) for b in feature.boundaries)
        rows = len(feature.boundaries) + 1
        self.embedding = EmbeddingTable(rows, feature.dim, name=name, seed=seed)

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N] to int64 [N]."""
        bounds = tf.constant(self.boundaries, tf.float32)
        return tf.searchsorted(bounds, raw[self.columns[0]], side="right", out_type=tf.int64)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Int64 [N] to float32 [N, dim]."""
        return self.embedding(looked_up)


class LogZScoreEncoder(Encoder):
    """(log(1 + x) - mean) / std over train rows, or over the day's items; 0 where x is missing."""

    def __init__(
        self,
        name: str,
        feature: LogZScore,
        statistics: Mapping[str, float],
        days: DayStatistics | None = None,
    ) -> None:
        """Takes `mean` and `std` of log(1 + x), or those of each day."""
        super().__init__(name, feature)
        self.elapsed, self.is_item = feature.elapsed, feature.entity is Entity.ITEM
        self.unit = feature.count.unit.size if feature.count is not None else 1
        self.mean, self.std = statistics["mean"], statistics["std"]
        self._days = days

    def look_up(self, raw: Raw) -> tf.Tensor:
        """A number or a time [N] to float32 [N]; a time wants `timestamp` or an item's `day`."""
        value = raw[self.columns[0]]
        if self.elapsed:
            now = raw["day"] * SECONDS_PER_DAY if self.is_item else raw[TIMESTAMP]
            missing = value <= 0
            days = tf.cast(tf.maximum(now - value, 0), tf.float32) / SECONDS_PER_DAY
        else:
            days = tf.cast(value, tf.float32) / self.unit
            missing = days < 0
        mean, std = self.mean, self.std
        if self._days is not None:
            day = tf.clip_by_value(raw["day"] - self._days.first_day, 0, len(self._days.mean) - 1)
            mean, std = tf.gather(self._days.mean, day), tf.gather(self._days.std, day)
        scaled = (tf.math.log1p(tf.maximum(days, 0.0)) - mean) / std
        return tf.where(missing, tf.zeros_like(scaled), scaled)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N] to float32 [N, 1]."""
        return looked_up[..., tf.newaxis]


class BoundedEncoder(Encoder):
    """A share in [0, 1] and whether it is known; (0, 0) where it is not."""

    def look_up(self, raw: Raw) -> tf.Tensor:
        """A share float32 [N], or two sums int64 [N], to float32 [N, 2]."""
        if len(self.columns) == 1:
            share = raw[self.columns[0]]
            known = share >= 0
        else:
            part, whole = (tf.cast(raw[column], tf.float32) for column in self.columns)
            known = whole > 0
            share = tf.math.divide_no_nan(part, whole)
        share = tf.where(known, tf.clip_by_value(share, 0.0, 1.0), 0.0)
        return tf.stack([share, tf.cast(known, tf.float32)], -1)

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, 2], unchanged."""
        return looked_up


_PERIODS = {
    Period.DAY: (SECONDS_PER_DAY, 0),
    # 1970-01-01 was a Thursday, the fourth day of its week.
    Period.WEEK: (7 * SECONDS_PER_DAY, 3 * SECONDS_PER_DAY),
}
"""Seconds of each period, and what stood on its clock at time 0."""


class CyclicalEncoder(Encoder):
    """Where in its period a time stands, on the unit circle; a missing time is at its centre."""

    def __init__(self, name: str, feature: Cyclical) -> None:
        """Takes the period."""
        super().__init__(name, feature)
        self.seconds, self.offset = _PERIODS[feature.period]

    def look_up(self, raw: Raw) -> tf.Tensor:
        """UTC seconds int64 [N] to sine and cosine, float32 [N, 2]."""
        time = raw[self.columns[0]]
        # The remainder of whole seconds first: float32 does not tell today's seconds apart.
        within = tf.cast(tf.math.floormod(time + self.offset, self.seconds), tf.float32)
        angle = within * (2 * math.pi / self.seconds)
        on_circle = tf.stack([tf.sin(angle), tf.cos(angle)], -1)
        return tf.where((time > 0)[..., tf.newaxis], on_circle, tf.zeros_like(on_circle))

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, 2], unchanged."""
        return looked_up


class DenseEncoder(Encoder):
    """A vector as it is."""

    def look_up(self, raw: Raw) -> tf.Tensor:
        """Float32 [N, length], unchanged."""
        return raw[self.columns[0]]

    def call(self, looked_up: tf.Tensor) -> tf.Tensor:
        """Float32 [N, length], unchanged."""
        return looked_up
