"""Columns of rows, requests and tables, and those that every dataset has, whatever its features."""

import enum
from dataclasses import dataclass


class DType(enum.Enum):
    """The three types that a tf.train.Example can hold."""

    INT64 = "int64"
    FLOAT = "float32"
    BYTES = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of rows, requests or tables.

    Attributes:
        name: its name, the same wherever it appears.
        dtype: its type.
        length: None for a scalar, else the fixed length of each row's vector.
        max_length: for a list of varying length, its bound; None for any other column.
        unbounded: a list of any length (queries only).
        is_prefix: the rows of a record hold beginnings of one list, which stands there once.
    """

    name: str
    dtype: DType
    length: int | None = None
    max_length: int | None = None
    unbounded: bool = False
    is_prefix: bool = False

    @property
    def is_ragged(self) -> bool:
        """Whether rows differ in length."""
        return self.max_length is not None or self.unbounded


LENGTH_SUFFIX = "#length"
"""In packed records the ragged column `c` has its row lengths in `c#length`."""

END_SUFFIX = "#end"
"""In records of sequences the rows of `c` are the first `c#end` values of the record's one list."""

SECONDS_PER_DAY = 86_400
TIMESTAMP = "timestamp"
USER_ID = "user_id"
ITEM = "item"
UNKNOWN_ITEM = 0
"""The catalog id of every item that the catalog does not hold; never a candidate."""

TARGET_COLUMNS = (
    Column(name=ITEM, dtype=DType.INT64),  # catalog id of the positive
    Column(name="day", dtype=DType.INT64),  # of `timestamp`, days since 1970-01-01 UTC
    Column(name="label_time", dtype=DType.INT64),  # of the positive event
    Column(name="weight", dtype=DType.FLOAT),
)
"""What a train row holds for the loss."""

LABEL_COLUMNS = (
    *TARGET_COLUMNS,
    Column(name="feature_time", dtype=DType.INT64),  # newest event used by a feature; 0: none
    Column(name="label_event", dtype=DType.BYTES),
    Column(name="position", dtype=DType.INT64),  # in the feed; -1: not logged
    Column(name="propensity", dtype=DType.FLOAT),  # of the impression; 0: not logged
    Column(name="session_id", dtype=DType.BYTES),
)
"""What a train row holds beside the features; `timestamp` is the row's as_of, UTC seconds."""

NEGATIVE_ITEM = "negative_item"
"""Catalog ids of a train row's impressed and explicit negatives (docs/dataset.md)."""

QUERY_COLUMNS = (
    Column(name="positive_item", dtype=DType.INT64, unbounded=True),  # all, oldest first
    Column(name="positive_timestamp", dtype=DType.INT64, unbounded=True),
    Column(name="seen_item", dtype=DType.INT64, unbounded=True),
    Column(name="relevant_item", dtype=DType.INT64, unbounded=True),
)
"""What an evaluation query holds beside the features; catalog ids."""

CATALOG_COLUMNS = (
    Column(name=ITEM, dtype=DType.INT64),  # 1..n without gaps
    Column(name="video_id", dtype=DType.BYTES),
    Column(name="title", dtype=DType.BYTES),
    Column(name="in_vocabulary", dtype=DType.INT64),  # 1 for ids with an embedding of their own
    Column(name="known_by_train_end", dtype=DType.INT64),
    Column(name="upload_time", dtype=DType.INT64),  # 0: not logged
    Column(name="first_seen", dtype=DType.INT64),  # first event; 0: none
    Column(name="train_count", dtype=DType.INT64),  # train rows with it as the positive
)
"""What the catalog holds of every item beside the item features' own columns."""


POSITIVE_COLUMNS = (
    Column(name="user", dtype=DType.INT64),  # row of the user in `users`
    Column(name=ITEM, dtype=DType.INT64),
    Column(name=TIMESTAMP, dtype=DType.INT64),  # of the positive event
    Column(name="order", dtype=DType.INT64),  # place among the user's labels, from 0
    Column(name="split", dtype=DType.BYTES),
)
"""What `positives` holds of each label."""


def default_of(column: Column) -> bytes | int | float:
    """What a scalar column holds where the logs or a request say nothing.

    '' is out of every vocabulary, 0 is a time that was not logged, -1.0 a number that is missing:
    the encoders know each as missing.
    """
    defaults: dict[DType, bytes | int | float] = {
        DType.BYTES: b"",
        DType.INT64: 0,
        DType.FLOAT: -1.0,
    }
    return defaults[column.dtype]
