"""The catalog of a dataset, in memory: what is known of every item, and of it on every day."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from preprocessing.columns import ITEM, SECONDS_PER_DAY, UNKNOWN_ITEM, Column, DType, default_of
from preprocessing.features import FeatureSpec
from preprocessing.manifest import Manifest

_DAY_BITS = 20  # days since 1970 fit until the year 4840


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCounts:
    """The counts of `item_statistics`, as change points.

    Attributes:
        key: int64 [rows], ascending: item id and day in one number.
        counts: int64 [rows, statistics].
    """

    key: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @staticmethod
    def key_of(item: Any, day: Any) -> Any:
        """One number for an item on a day; works on NumPy and TensorFlow int64 alike."""
        return item * (1 << _DAY_BITS) + day

    @staticmethod
    def item_and_day(key: Any) -> tuple[Any, Any]:
        """The item and the day of a `key_of`."""
        return key // (1 << _DAY_BITS), key % (1 << _DAY_BITS)

    def at(self, item: npt.NDArray[np.int64], day: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Counts as of the start of `day`: int64 [n, statistics], zeros before the first event."""
        if not len(self.key):
            return np.zeros((len(item), self.counts.shape[1]), np.int64)
        row = np.searchsorted(self.key, self.key_of(item, day), side="right") - 1
        known = (row >= 0) & (self.key[row] >= self.key_of(item, 0))
        return np.where(known[:, None], self.counts[row], 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every item by catalog id; row 0 is the unknown item, with every column at its default.

    Attributes:
        video_id: object [items + 1], str.
        title: object [items + 1], str.
        columns: raw columns of the item features, [items + 1, ...].
        vocabulary_size: ids 1..vocabulary_size have an id embedding of their own.
        num_known: ids 1..num_known were known by the end of train.
        upload_time: int64 [items + 1], UTC seconds; 0 where not logged.
        train_count: int64 [items + 1], train rows with the item as the positive.
        daily: counts by day.
    """

    video_id: npt.NDArray[np.object_]
    title: npt.NDArray[np.object_]
    columns: Mapping[str, npt.NDArray[Any]]
    vocabulary_size: int
    num_known: int
    upload_time: npt.NDArray[np.int64]
    train_count: npt.NDArray[np.int64]
    daily: DailyCounts

    @property
    def size(self) -> int:
        """Rows, the unknown item's included."""
        return len(self.video_id)

    @property
    def upload_day(self) -> npt.NDArray[np.int64]:
        """Int64 [items + 1], the first day since 1970 on which each exists; 0 if not logged."""
        return self.upload_time // SECONDS_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What turns strings and counts into model inputs.

    Attributes:
        vocabularies: values by feature, most frequent first; their ids start at 1.
        statistics: `mean` and `std` of log(1 + x) by feature.
        daily: the counts that features may be scaled by.
    """

    vocabularies: Mapping[str, list[str]]
    statistics: Mapping[str, Mapping[str, float]]
    daily: DailyCounts


def load_assets(root: Path, manifest: Manifest, *, daily: DailyCounts) -> Assets:
    """Reads vocabularies and statistics; `daily` are the catalog's."""
    vocabularies, statistics = (
        json.loads((root / manifest.part(part)[0].name).read_text(encoding="utf-8"))
        for part in ("vocabularies", "statistics")
    )
    return Assets(vocabularies=vocabularies, statistics=statistics, daily=daily)


def load_catalog(root: Path, manifest: Manifest, spec: FeatureSpec) -> Catalog:
    """Reads catalog and item statistics, ordered by catalog id."""
    table = _table(root, manifest, "catalog").sort_by(ITEM)
    ids = table[ITEM].to_numpy()
    assert np.array_equal(ids, np.arange(1, len(ids) + 1)), "catalog ids are 1..n"
    columns = {c.name: _with_unknown(table, c) for c in spec.catalog_columns}
    daily = _table(root, manifest, "item_statistics")
    key = DailyCounts.key_of(daily[ITEM].to_numpy(), daily["day"].to_numpy()).astype(np.int64)
    order = np.argsort(key, kind="stable")
    counts = [daily[c.name].to_numpy().astype(np.int64) for c in spec.statistic_columns]
    return Catalog(
        video_id=columns["video_id"],
        title=columns["title"],
        columns=columns,
        vocabulary_size=int(columns["in_vocabulary"].sum()),
        num_known=int(columns["known_by_train_end"].sum()),
        upload_time=columns["upload_time"],
        train_count=columns["train_count"],
        daily=DailyCounts(
            key=key[order],
            counts=np.stack(counts, 1)[order] if counts else np.zeros((len(key), 0), np.int64),
        ),
    )


def _table(root: Path, manifest: Manifest, part: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(root / f.name) for f in manifest.part(part)])


def _with_unknown(table: pa.Table, column: Column) -> npt.NDArray[Any]:
    """A catalog column as an array with the unknown item's default in row 0."""
    assert UNKNOWN_ITEM == 0
    if column.max_length is not None:
        rows = [[], *table[column.name].to_pylist()]
        width = max(1, *map(len, rows))
        return np.array([[*row, *[""] * (width - len(row))] for row in rows], dtype=object)
    if column.dtype is DType.BYTES:
        return np.array(["", *table[column.name].to_pylist()], dtype=object)
    dtype = np.int64 if column.dtype is DType.INT64 else np.float32
    if column.length is not None:
        flat = table[column.name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        unknown = np.zeros(column.length, dtype)
        return np.concatenate([unknown, flat.astype(dtype)]).reshape(-1, column.length)
    first = np.array([0 if column.name == ITEM else default_of(column)])
    return np.concatenate([first, table[column.name].to_numpy()]).astype(dtype)
