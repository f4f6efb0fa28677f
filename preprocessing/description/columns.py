"""What is described: each stored column of each feature, and what its values mean.

All of it follows from the spec's columns (dtype, length, raggedness, where they are stored), so
that a kind of feature needs nothing here to be described.
"""

import enum
from dataclasses import dataclass

import polars as pl

from configs.kinds import Cyclical, Feature, Period, Unit
from preprocessing.columns import ITEM, LABEL_COLUMNS, TIMESTAMP, Column, DType, default_of
from preprocessing.features import FeatureSpec, columns_of, counts_of


class Stored(enum.Enum):
    """Where a column's values are."""

    ROW = "row"  # in each row of train or of queries
    LABEL = "train row"  # and in no query
    CATALOG = "catalog"  # one value an item
    STATISTICS = "item statistics"  # one value an item and day


class Shown(enum.Enum):
    """What a column's values are shown as, and compared by."""

    CATEGORY = "category"
    NUMBER = "number"
    ELAPSED = "time before the row"
    DELAY = "time after the row"
    HOUR = "hour of the day, UTC"
    WEEKDAY = "day of the week, UTC"
    LENGTH = "items in the list"  # whose catalog ids are names and no numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One column to describe.

    Attributes:
        name: unique among all; the feature's, followed by the column's where it has several.
        kind: class of the feature, or `label`.
        group: whom it describes: `user`, `context`, `item` or `label`.
        stored: where its values are.
        column: as it is stored there.
        shown: what is made of its values.
        unit: of a number that is a sum over events, which is shown in it.
        missing: the value of a scalar that stands for none; None if every value is one.
    """

    name: str
    kind: str
    group: str
    stored: Stored
    column: Column
    shown: Shown
    unit: Unit
    missing: bytes | int | float | None

    @property
    def is_category(self) -> bool:
        """Whether values are compared by name and not by size."""
        return self.shown is Shown.CATEGORY

    @property
    def is_row_time(self) -> bool:
        """Whether it follows from when rows are: splits, cut by time, differ in it by design."""
        return self.stored is Stored.ROW and self.column.name == TIMESTAMP

    def is_missing(self) -> pl.Expr:
        """Boolean by row: no value, an empty list, or a vector of zeros."""
        values = pl.col(self.column.name)
        if self.column.is_ragged:
            return values.list.len() == 0
        if self.column.length is not None:
            vector = values.cast(pl.List(pl.Float32))
            return (vector.list.min() == 0) & (vector.list.max() == 0)
        if self.missing is None:
            return pl.lit(False) & values.is_null()
        missing = self.missing.decode() if isinstance(self.missing, bytes) else self.missing
        return values == missing


_PLAIN = Unit(1, "")

_LABELS_MISSING: dict[str, bytes | int | float] = {
    "feature_time": 0,
    "position": -1,
    "propensity": 0.0,
    "session_id": b"",
}
"""As `preprocessing.columns.LABEL_COLUMNS` says; every value of the others is one."""


def described_columns(spec: FeatureSpec) -> tuple[Described, ...]:
    """The columns of every feature, in the spec's order, then those of labels."""
    of_rows = {c.name: c for c in spec.row_feature_columns}
    of_statistics = {c.name: c for c in spec.statistic_columns}
    of_catalog = {c.name: c for c in spec.catalog_columns}
    found = []
    for name, feature in spec.features.items():
        columns = columns_of(name, feature)
        counts = counts_of(name, feature)
        for declared in columns:
            # Rows name a history's items by catalog id: `x_item` for a request's `x_item_id`.
            as_id = declared.name.removesuffix("_id")
            place = next(
                (
                    (where, tables[key])
                    for where, tables, key in (
                        (Stored.STATISTICS, of_statistics, declared.name),
                        (Stored.CATALOG, of_catalog, declared.name),
                        (Stored.ROW, of_rows, declared.name),
                        (Stored.ROW, of_rows, as_id),
                    )
                    if key in tables and (where is Stored.ROW) == (feature.entity.value != "item")
                ),
                None,
            )
            if place is None:  # made in the graph, of columns that are described by themselves
                continue
            stored, column = place
            shown = _shown(feature, declared, column)
            is_number_of = column.dtype is DType.INT64 and shown is Shown.NUMBER
            found.append(
                Described(
                    name=name if len(columns) == 1 else f"{name}: {column.name}",
                    kind=type(feature).__name__,
                    group=feature.entity.value,
                    stored=stored,
                    column=column,
                    shown=shown,
                    unit=counts[declared.name].unit if declared.name in counts else _PLAIN,
                    missing=None if is_number_of else default_of(column),
                )
            )
    labels = (
        Described(
            name=column.name,
            kind="label",
            group="label",
            stored=Stored.LABEL,
            column=column,
            shown=_shown_label(column),
            unit=_PLAIN,
            missing=_LABELS_MISSING.get(column.name),
        )
        for column in (*LABEL_COLUMNS, *spec.negative_columns)
        if column.name not in (ITEM, "day")
    )
    return (*found, *labels)


def _shown(feature: Feature, declared: Column, stored: Column) -> Shown:
    if stored.name != declared.name:  # rows hold catalog ids where a request holds video ids
        return Shown.LENGTH
    if isinstance(feature, Cyclical):
        return Shown.HOUR if feature.period is Period.DAY else Shown.WEEKDAY
    if stored.dtype is DType.BYTES:
        return Shown.CATEGORY
    # An int64 is a time where logs hold it, and a number of something where it is computed.
    is_time = feature.column != "" or stored.name.endswith(f"_{TIMESTAMP}")
    return Shown.ELAPSED if stored.dtype is DType.INT64 and is_time else Shown.NUMBER


def _shown_label(column: Column) -> Shown:
    if column.name.endswith(f"_{ITEM}"):
        return Shown.LENGTH
    if column.dtype is DType.BYTES:
        return Shown.CATEGORY
    if column.name == "label_time":
        return Shown.DELAY
    return Shown.ELAPSED if column.name.endswith("_time") else Shown.NUMBER
