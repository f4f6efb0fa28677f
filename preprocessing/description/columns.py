"""What is described: each stored column of each feature, and what its values mean.

All of it follows from the spec's columns (dtype, length, raggedness, where they are stored), so
that a kind of feature needs nothing here to be described.
"""

import enum
from dataclasses import dataclass

import polars as pl

from preprocessing.features import (
    ITEM,
    LABEL_COLUMNS,
    TIMESTAMP,
    Column,
    DType,
    FeatureSpec,
    columns_of,
    default_of,
)


class Stored(enum.Enum):
    """Where a column's values are."""

    ROW = "row"  # in each row of train or of queries
    LABEL = "train row"  # and in no query
    CATALOG = "catalog"  # one value an item
    STATISTICS = "item statistics"  # one value an item and day


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One column to describe.

    Attributes:
        name: unique among all; the feature's, followed by the column's where it has several.
        kind: class of the feature, or `label`.
        group: whom it describes: `user`, `context`, `item` or `label`.
        stored: where its values are.
        column: as it is stored there.
        is_time: whether values are UTC seconds; they are shown as days before the row.
        is_item: whether values are catalog ids, which mean nothing in another dataset.
        missing: the value of a scalar that stands for none; None if every value is one.
    """

    name: str
    kind: str
    group: str
    stored: Stored
    column: Column
    is_time: bool
    is_item: bool
    missing: bytes | int | float | None

    @property
    def is_category(self) -> bool:
        """Whether values are compared by name and not by size."""
        return self.column.dtype is DType.BYTES

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


_LABELS_MISSING: dict[str, bytes | int | float] = {
    "feature_time": 0,
    "position": -1,
    "propensity": 0.0,
    "session_id": b"",
}
"""As `preprocessing.features.LABEL_COLUMNS` says; every value of the others is one."""


def described_columns(spec: FeatureSpec) -> tuple[Described, ...]:
    """The columns of every feature, in the spec's order, then those of labels."""
    of_rows = {c.name: c for c in spec.row_feature_columns}
    of_statistics = {c.name: c for c in spec.statistic_columns}
    of_catalog = {c.name: c for c in spec.catalog_columns}
    found = []
    for name, feature in spec.features.items():
        columns = [c for c in columns_of(name, feature) if c.name != TIMESTAMP]
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
            # An int64 is a time where logs hold it, and a number of something where it is computed.
            is_time = column.dtype is DType.INT64 and (
                feature.column != "" or column.name.endswith(f"_{TIMESTAMP}")
            )
            is_number_of = column.dtype is DType.INT64 and not is_time
            found.append(
                Described(
                    name=name if len(columns) == 1 else f"{name}: {column.name}",
                    kind=type(feature).__name__,
                    group=feature.entity.value,
                    stored=stored,
                    column=column,
                    is_time=is_time,
                    is_item=column.name != declared.name,
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
            is_time=column.name.endswith("_time"),
            is_item=column.name.endswith(f"_{ITEM}"),
            missing=_LABELS_MISSING.get(column.name),
        )
        for column in (*LABEL_COLUMNS, *spec.negative_columns)
        if column.name not in (ITEM, "day")
    )
    return (*found, *labels)
