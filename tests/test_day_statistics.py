"""Counts among the items of their day, against a loop over days and items."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from configs.kinds import Count, Entity, Freshness, LogZScore, Measure
from configs.schema import Data
from preprocessing.features import FeatureSpec
from trainer.catalog import Assets, DailyCounts
from trainer.day_statistics import over_items
from trainer.encoders import make_encoder

ITEMS, DAYS, FIRST = 9, 12, 20_000
FEATURE = LogZScore(
    entity=Entity.ITEM,
    freshness=Freshness.DAY,
    count=Count(event="watch", measure=Measure.WATCH_MS, window_days=2),
    by_day=True,
)


@pytest.fixture
def counts() -> npt.NDArray[np.int64]:
    """Of each item before each day, [items, days]: rising and falling; some items come late."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 50_000_000, (ITEMS, DAYS)) * rng.integers(0, 2, (ITEMS, DAYS))
    for item in range(ITEMS):
        counts[item, : item // 2] = 0
        counts[item, item // 2] = 7
    return counts


@pytest.fixture
def daily(counts: npt.NDArray[np.int64]) -> DailyCounts:
    """Its change points."""
    rows = [
        (DailyCounts.key_of(item + 1, FIRST + day), [counts[item, day]])
        for item in range(ITEMS)
        for day in range(DAYS)
        if counts[item, day] != (counts[item, day - 1] if day else 0)
    ]
    keys, values = zip(*rows, strict=True)
    return DailyCounts(key=np.array(keys), counts=np.array(values))


def expected(counts: npt.NDArray[np.int64], day: int) -> npt.NDArray[np.float64]:
    """Scores of all items on a day, by definition."""
    known = (counts[:, : day + 1] > 0).any(1)
    value = np.log1p(counts[:, day] / 120_000)  # minutes a day, of two days
    return (value - value[known].mean()) / max(value[known].std(), 0.1)


def test_a_count_stands_among_the_items_of_its_day(
    counts: npt.NDArray[np.int64], daily: DailyCounts
) -> None:
    spec = FeatureSpec(features={"minutes": FEATURE}, data=Data())
    assets = Assets(vocabularies={}, statistics={"minutes": {"mean": 5.0, "std": 3.0}}, daily=daily)
    encoder = make_encoder("minutes", spec, assets, seed=0)
    (column,) = encoder.columns

    def scores(of: npt.NDArray[np.int64], day: int) -> npt.NDArray[np.float32]:
        raw = {column: tf.constant(of), "day": tf.fill([ITEMS], tf.constant(day, tf.int64))}
        found: npt.NDArray[np.float32] = encoder(encoder.look_up(raw)).numpy()[:, 0]
        return found

    for day in range(DAYS):
        np.testing.assert_allclose(
            scores(counts[:, day], FIRST + day), expected(counts, day), atol=1e-5
        )
    # Days beyond are taken for the nearest that is known, as an update after the export needs.
    last = scores(counts[:, -1], FIRST + DAYS - 1)
    np.testing.assert_array_equal(scores(counts[:, -1], FIRST + DAYS + 40), last)
    np.testing.assert_array_equal(scores(counts[:, 0], FIRST - 9), scores(counts[:, 0], FIRST))


def test_all_traffic_doubled_is_the_same(daily: DailyCounts) -> None:
    one = over_items(daily, 0, unit=1)
    two = over_items(replace(daily, counts=2 * (daily.counts + 1) - 1), 0, unit=1)
    np.testing.assert_allclose(two.mean - one.mean, np.log(2), atol=1e-5)
    np.testing.assert_allclose(two.std, one.std, atol=1e-5)


def test_no_event_is_no_error() -> None:
    none = DailyCounts(key=np.zeros(0, np.int64), counts=np.zeros((0, 1), np.int64))
    found = over_items(none, 0, unit=1)
    assert found.mean.tolist() == [0.0] and found.std.tolist() == [1.0]
