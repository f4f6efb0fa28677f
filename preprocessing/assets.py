"""Vocabularies and scales, from train data only."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import Bag, Entity, LogZScore, OneHot, Vocabulary
from preprocessing.columns import ITEM, SECONDS_PER_DAY, TIMESTAMP, Column
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.item_statistics import DAY, StatisticsAt

_SCALE = 1_000_000
# log(1 + x) of a float32 is below 89, so that the squares of a block's millionths fit in 64 bits.
_BLOCK = 1_024

Sums = dict[str, dict[str, int]]


def value_counts(rows: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """How often each value of the vocabularies of users and context is in some train rows.

    Returns:
        `feature`, `value`, `count`.
    """
    return _counts_of(rows, spec, Entity.USER, Entity.CONTEXT)


def item_value_counts(catalog: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """The same for items: how many that were known by the end of train have each value."""
    return _counts_of(catalog.filter(pl.col("known_by_train_end") == 1), spec, Entity.ITEM)


def _counts_of(frame: pl.DataFrame, spec: FeatureSpec, *entities: Entity) -> pl.DataFrame:
    counted = [
        _values_of(frame, columns_of(name, feature)[0])
        .group_by("value")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .select(pl.lit(name).alias("feature"), "value", "count")
        for name, feature in spec.of(*entities)
        if name in spec.vocabulary_features
    ]
    schema = {"feature": pl.String, "value": pl.String, "count": pl.Int64}
    return pl.concat([pl.DataFrame(schema=schema), *counted])


def _values_of(frame: pl.DataFrame, column: Column) -> pl.DataFrame:
    """A column as `value`, a row for each value where it holds several."""
    values = frame.select(pl.col(column.name).alias("value"))
    return values.explode("value").drop_nulls() if column.is_ragged else values


def vocabularies(
    counts: pl.DataFrame, spec: FeatureSpec, *, previous: Mapping[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """The values of each vocabulary, at most `max_size`.

    Those of `previous` keep their places; the others follow, most frequent first, ties by value.
    """
    counts = (
        counts.filter(pl.col("value") != "")
        .group_by("feature", "value")
        .agg(pl.col("count").sum())
        .sort("count", "value", descending=[True, False])
    )
    found: dict[str, list[str]] = {}
    for name in spec.vocabulary_features:
        feature = spec.features[name]
        assert isinstance(feature, Vocabulary | OneHot | Bag)
        kept = (previous or {}).get(name, [])
        values = counts.filter((pl.col("feature") == name) & ~pl.col("value").is_in(kept))["value"]
        found[name] = [*kept, *values.head(max(feature.max_size - len(kept), 0))]
    return found


def scale_sums(
    rows: pl.DataFrame, *, spec: FeatureSpec, catalog: pl.DataFrame, statistics: StatisticsAt
) -> Sums:
    """Sums of log(1 + x) over some train rows, as the model would see x; missing ones left out.

    Returns:
        By feature: `n`, `sum` and `squares` of millionths, whole numbers, so that the order of
        rows cannot change them.
    """
    sums: Sums = {}
    for name, feature in spec.features.items():
        if isinstance(feature, LogZScore):
            x = _seen_by_model(name, feature, rows, catalog, statistics)
            scaled = np.rint(np.log1p(x) * _SCALE).astype(np.int64)
            blocks = (scaled[i : i + _BLOCK] for i in range(0, len(scaled), _BLOCK))
            sums[name] = {
                "n": len(scaled),
                "sum": int(scaled.sum()),
                "squares": sum(int((block**2).sum()) for block in blocks),
            }
    return sums


def _seen_by_model(
    name: str,
    feature: LogZScore,
    rows: pl.DataFrame,
    catalog: pl.DataFrame,
    statistics: StatisticsAt,
) -> npt.NDArray[np.float64]:
    item, day = rows[ITEM].to_numpy(), rows[DAY].to_numpy()
    if feature.entity is Entity.ITEM:
        if feature.count is not None:
            return statistics.at(item, day, name) / feature.count.unit.size
        raw, asked_at = catalog[feature.column].to_numpy()[item - 1], day * SECONDS_PER_DAY
    else:
        raw = rows[name if feature.count is not None else feature.column].to_numpy()
        asked_at = rows[TIMESTAMP].to_numpy()
    if feature.elapsed:
        logged = raw != 0
        return np.maximum((asked_at - raw)[logged] / SECONDS_PER_DAY, 0.0)
    known = raw[raw >= 0].astype(np.float64)
    return known / feature.count.unit.size if feature.count is not None else known


def scales(sums: Sums, spec: FeatureSpec) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of log(1 + x) by feature; a deviation of 0 is given as 1."""
    found: dict[str, dict[str, float]] = {}
    for name in spec.scaled_features:
        n, total, squares = (sums[name][part] for part in ("n", "sum", "squares"))
        variance = n * squares - total**2  # exact: these are Python's integers
        std = math.sqrt(variance) / n / _SCALE if n else 0.0
        found[name] = {"mean": total / n / _SCALE if n else 0.0, "std": std or 1.0}
    return found
