"""The feature spec: everything that logs, rows, catalog and requests must agree on.

Derived from the config's features, once; it names every column, its dtype and its shape. Beam
produces these columns, `trainer.encoders` looks them up and embeds them, the exported model takes
the request's part of them as inputs. This module imports neither Beam nor TensorFlow.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from configs.checks import FREE
from configs.errors import UserError
from configs.kinds import (
    KINDS,
    Bag,
    Bounded,
    Bucketized,
    Count,
    Cyclical,
    Dense,
    Distribution,
    Entity,
    Feature,
    Freshness,
    HashedId,
    LogZScore,
    OneHot,
    Sequence,
    Text,
    Vocabulary,
)
from configs.schema import Config, Data, Form
from configs.serialization import to_dict
from preprocessing.columns import (
    CATALOG_COLUMNS,
    LABEL_COLUMNS,
    NEGATIVE_ITEM,
    QUERY_COLUMNS,
    TARGET_COLUMNS,
    TIMESTAMP,
    USER_ID,
    Column,
    DType,
)

TEXT_LENGTH = 384
"""Length of every text encoder's vectors, so that one can take another's place."""


def counts_of(name: str, feature: Feature) -> dict[str, Count]:
    """The sums over events that a feature is made of, by the column that holds each."""
    match feature:
        case LogZScore(count=Count() as count):
            return {name: count}
        case Bounded(numerator=Count() as numerator, denominator=Count() as denominator):
            return {f"{name}_numerator": numerator, f"{name}_denominator": denominator}
    return {}


def columns_of(name: str, feature: Feature) -> tuple[Column, ...]:
    """The raw columns of one feature, as a request carries them and a row stores them."""
    match feature:
        case Sequence():
            return (
                Column(name=f"{name}_item_id", dtype=DType.BYTES, max_length=feature.max_length),
                Column(name=f"{name}_timestamp", dtype=DType.INT64, max_length=feature.max_length),
            )
        case Distribution():
            return (
                Column(name=f"{name}_key", dtype=DType.BYTES, max_length=feature.max_keys),
                Column(name=f"{name}_count", dtype=DType.INT64, max_length=feature.max_keys),
            )
        case Dense():
            return (Column(name=feature.column, dtype=DType.FLOAT, length=feature.length),)
        case LogZScore(count=Count()) | Bounded(numerator=Count()):
            return tuple(Column(name=c, dtype=DType.INT64) for c in counts_of(name, feature))
        case LogZScore(elapsed=True) | Cyclical():
            return (Column(name=feature.column, dtype=DType.INT64),)
        case Bag():
            return (Column(name=feature.column, dtype=DType.BYTES, max_length=feature.max_length),)
        case Text():
            return (Column(name=f"{name}_embedding", dtype=DType.FLOAT, length=TEXT_LENGTH),)
        case LogZScore() | Bucketized() | Bounded():
            return (Column(name=feature.column, dtype=DType.FLOAT),)
        case HashedId() | Vocabulary() | OneHot():
            return (Column(name=feature.column, dtype=DType.BYTES),)
    raise TypeError(f"features.{name}: no columns are declared for {type(feature).__name__}")


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The features of a config, and what follows from them.

    Attributes:
        features: by name, in the config's order.
        data: the rules by which rows are made; part of the fingerprint.
    """

    features: Mapping[str, Feature]
    data: Data

    def of(self, *entities: Entity) -> Iterator[tuple[str, Feature]]:
        """The features of these entities."""
        return ((n, f) for n, f in self.features.items() if f.entity in entities)

    @property
    def sequence(self) -> tuple[str, Sequence]:
        """Name and declaration of the one Sequence."""
        return next((n, f) for n, f in self.features.items() if isinstance(f, Sequence))

    @property
    def history_item_column(self) -> str:
        """Row column with the history's catalog ids; the request's has their video ids."""
        return f"{self.sequence[0]}_item"

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """Every input of `serving_default`, `timestamp` first."""
        return self._columns_asked(Entity.USER, Entity.CONTEXT)

    @property
    def row_feature_columns(self) -> tuple[Column, ...]:
        """The request's columns as rows store them: items by catalog id, not by video id.

        The user id is always among them: a batch must know which rows are one user's.
        """
        name, feature = self.sequence
        as_id = Column(
            name=self.history_item_column, dtype=DType.INT64, max_length=feature.max_length
        )
        columns = {USER_ID: Column(name=USER_ID, dtype=DType.BYTES)}
        for column in self.request_columns:
            columns[column.name] = as_id if column.name == f"{name}_item_id" else column
        return tuple(columns.values())

    @property
    def has_daily_items(self) -> bool:
        """Whether item features differ by day."""
        return any(f.freshness is Freshness.DAY for _, f in self.of(Entity.ITEM))

    @property
    def train_columns(self) -> tuple[Column, ...]:
        """Columns of `train`; in the sequence form the rows of a record share one history."""
        columns = self.row_feature_columns + LABEL_COLUMNS + self.negative_columns
        if self.data.form is Form.ROW:
            return columns
        return tuple(
            replace(c, is_prefix=True) if c.name in self.history_columns else c for c in columns
        )

    @property
    def history_columns(self) -> tuple[str, str]:
        """Row columns of the history: catalog ids, and their times."""
        return self.history_item_column, f"{self.sequence[0]}_{TIMESTAMP}"

    @property
    def training_columns(self) -> tuple[Column, ...]:
        """Those of `train` that training reads; the others are for people and later stages."""
        unread = {c.name for c in LABEL_COLUMNS} - {c.name for c in TARGET_COLUMNS}
        return tuple(c for c in self.train_columns if c.name not in unread)

    @property
    def negative_columns(self) -> tuple[Column, ...]:
        """The column of a row's negatives; none where the config wants none."""
        limit = self.data.negatives_per_row
        column = Column(name=NEGATIVE_ITEM, dtype=DType.INT64, max_length=limit)
        return (column,) if limit else ()

    @property
    def query_columns(self) -> tuple[Column, ...]:
        """Columns of `queries`."""
        return self.row_feature_columns + QUERY_COLUMNS

    @property
    def statistic_columns(self) -> tuple[Column, ...]:
        """The counts in `item_statistics`, each as of the start of the row's day."""
        return tuple(Column(name=c, dtype=DType.INT64) for c in self.counts(Entity.ITEM))

    def counts(self, entity: Entity) -> dict[str, Count]:
        """The sums over events that an entity's features are made of, by column."""
        return {c: n for name, f in self.of(entity) for c, n in counts_of(name, f).items()}

    @property
    def texts(self) -> dict[str, Text]:
        """The features whose vectors a text encoder makes."""
        return {n: f for n, f in self.features.items() if isinstance(f, Text)}

    @property
    def catalog_columns(self) -> tuple[Column, ...]:
        """Columns of `catalog`."""
        statistics = {c.name for c in self.statistic_columns}
        columns = {c.name: c for c in CATALOG_COLUMNS}
        for name, feature in self.of(Entity.ITEM):
            for column in columns_of(name, feature):
                if column.name not in statistics:
                    columns.setdefault(column.name, column)
        return tuple(columns.values())

    @property
    def item_request_columns(self) -> tuple[Column, ...]:
        """Every input of `embed_item`: `timestamp`, then the raw columns of the item features."""
        return self._columns_asked(Entity.ITEM)

    def _columns_asked(self, *entities: Entity) -> tuple[Column, ...]:
        columns = {TIMESTAMP: Column(name=TIMESTAMP, dtype=DType.INT64)}
        for name, feature in self.of(*entities):
            for column in columns_of(name, feature):
                columns[column.name] = column
        return tuple(columns.values())

    @property
    def vocabulary_features(self) -> tuple[str, ...]:
        """Features with an entry in `vocabularies.json`; `item_id`'s is the catalog itself."""
        return tuple(
            name
            for name, feature in self.features.items()
            if isinstance(feature, Vocabulary | OneHot | Bag) and name != "item_id"
        )

    @property
    def scaled_features(self) -> tuple[str, ...]:
        """Features with an entry in `statistics.json`."""
        return tuple(n for n, f in self.features.items() if isinstance(f, LogZScore))

    def describe(self) -> dict[str, Any]:
        """The spec as plain JSON: features and data rules, less the fields marked free."""
        return {
            "features": {name: _fixed(feature) for name, feature in self.features.items()},
            "data": _fixed(self.data),
        }

    def fingerprint(self) -> str:
        """sha256 of `describe`, hexadecimal."""
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _fixed(part: Feature | Data) -> dict[str, Any]:
    free = {f.name for f in fields(part) if f.metadata.get(FREE)}
    return {name: value for name, value in to_dict(part).items() if name not in free}


def spec_of(config: Config) -> FeatureSpec:
    """The spec of a validated config."""
    for name, feature in config.features.items():
        if type(feature) not in KINDS:
            raise UserError(
                f"config.features.{name}: found {type(feature).__name__}, expected one of "
                + ", ".join(kind.__name__ for kind in KINDS)
            )
    spec = FeatureSpec(features=config.features, data=config.data)
    _require_distinct_columns(spec)
    return spec


def _require_distinct_columns(spec: FeatureSpec) -> None:
    """Two things of different kinds must not share a column of rows or of the catalog."""
    reserved = {c.name: c for c in (*LABEL_COLUMNS, *spec.negative_columns, *QUERY_COLUMNS)}
    of_rows: dict[str, tuple[Column, object]] = {
        **{name: (column, None) for name, column in reserved.items()},
        TIMESTAMP: (Column(name=TIMESTAMP, dtype=DType.INT64), Entity.CONTEXT),
        USER_ID: (Column(name=USER_ID, dtype=DType.BYTES), Entity.USER),
    }
    of_catalog: dict[str, tuple[Column, object]] = {
        c.name: (c, Entity.ITEM if c.name in ("video_id", "title", "upload_time") else None)
        for c in CATALOG_COLUMNS
    }
    for name, feature in spec.features.items():
        columns = of_catalog if feature.entity is Entity.ITEM else of_rows
        for column in columns_of(name, feature):
            if columns.setdefault(column.name, (column, feature.entity)) != (
                column,
                feature.entity,
            ):
                raise UserError(
                    f"config.features.{name}: found column {column.name!r}, expected another "
                    "name: something else of the dataset has it"
                )


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two descriptions differ, one `path: found x, expected y` each."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return [
            line
            for key in sorted({*found, *expected})
            for line in differences(
                found.get(key, "nothing"),
                expected.get(key, "nothing"),
                f"{path}.{key}" if path else key,
            )
        ]
    return [] if found == expected else [f"{path}: found {found!r}, expected {expected!r}"]
