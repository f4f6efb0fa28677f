"""The catalog: every video, its id, and what is known of it."""

import polars as pl

from configs.kinds import Distribution, Entity, Vocabulary
from configs.schema import SplitBy
from preprocessing.columns import ITEM, TIMESTAMP, Column, DType, default_of
from preprocessing.contract import VIDEO_ID
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.labels import STATUS, Status
from preprocessing.manifest import Splits
from preprocessing.parsing import LINE

ITEM_ID = "item_id"
"""The feature whose vocabulary is the catalog's."""

_DTYPE = {DType.INT64: pl.Int64, DType.FLOAT: pl.Float32, DType.BYTES: pl.String}


def deduplicate_table(rows: pl.DataFrame, key: str) -> tuple[pl.DataFrame, int]:
    """Keeps one row of a key: of several, the least by all its columns, whatever file it is in.

    Returns:
        The rows by key, and how many were left out.
    """
    content = [c for c in rows.columns if c not in ("file", LINE)]
    rows = rows.select(content)
    doubled = rows[key].is_duplicated()
    if not doubled.any():
        return rows.sort(key), 0
    text = pl.struct(content).struct.json_encode()
    one = rows.filter(doubled).sort(key, text).unique(key, keep="first", maintain_order=True)
    kept = pl.concat([rows.filter(~doubled), one]).sort(key)
    return kept, len(rows) - len(kept)


def as_column(column: Column) -> pl.Expr:
    """A raw column as rows and tables hold it: of its type, missing values at their default."""
    raw = pl.col(column.name)
    if column.length is not None:
        missing = pl.lit([0.0] * column.length, dtype=pl.List(pl.Float32))
        return raw.fill_null(missing).cast(pl.List(pl.Float32)).alias(column.name)
    if column.max_length is not None:
        texts = raw.list.eval(pl.element().filter(pl.element() != "")).list.head(column.max_length)
        return texts.fill_null(pl.lit([], dtype=pl.List(pl.String))).alias(column.name)
    default = default_of(column)
    return (
        raw.cast(_DTYPE[column.dtype])
        .fill_null(default.decode() if isinstance(default, bytes) else default)
        .alias(column.name)
    )


def with_earlier_videos(videos: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """The videos table with the rows that only an earlier catalog has.

    Args:
        videos: one row each.
        earlier: catalog rows, missing values at their defaults.
    """
    gone = earlier.join(videos, on=VIDEO_ID, how="anti")
    columns = [
        _without_default(pl.col(name).cast(dtype), dtype)
        for name, dtype in videos.schema.items()
        if name in earlier.columns
    ]
    return pl.concat([videos, gone.select(columns)], how="diagonal").sort(VIDEO_ID)


def _without_default(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A catalog column as a raw one: null where it holds what stands for a missing value."""
    if dtype == pl.String:
        return column.replace("", None)
    return column.replace(-1.0, None) if dtype == pl.Float64 else column


def item_facts(labelled: pl.DataFrame) -> pl.DataFrame:
    """What the events of some users say of each video: `first_seen`, `train_count`, `events`."""
    return labelled.group_by(VIDEO_ID).agg(
        first_seen=pl.col(TIMESTAMP).min(),
        train_count=(pl.col(STATUS) == int(Status.TRAIN)).sum().cast(pl.Int64),
        events=pl.len().cast(pl.Int64),
    )


def build_catalog(
    videos: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    spec: FeatureSpec,
    splits: Splits,
    previous: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, int]:
    """Numbers all videos.

    Args:
        videos: of the videos table, one row each.
        facts: of `item_facts`, from all groups of users.
        spec: of the run.
        splits: the cuts.
        previous: catalog rows of an earlier dataset whose items keep their ids, from 1.

    Returns:
        `spec.catalog_columns` in order of `item`, less the vectors of texts; and how many events
        name a video that the videos table does not have.
    """
    facts = facts.group_by(VIDEO_ID).agg(
        pl.col("first_seen").min(), pl.col("train_count").sum(), pl.col("events").sum()
    )
    unknown = facts.join(videos, on=VIDEO_ID, how="anti")["events"].sum()
    if previous is None:
        schema = {VIDEO_ID: pl.String, ITEM: pl.Int64, "first_seen": pl.Int64}
        previous = pl.DataFrame(schema=schema)
    kept = previous.select(VIDEO_ID, pl.col(ITEM).alias("kept"), pl.col("first_seen").alias("ever"))
    items = (
        videos.join(facts, on=VIDEO_ID, how="full", coalesce=True)
        .join(kept, on=VIDEO_ID, how="left")
        .with_columns(
            pl.col("train_count", "upload_time").fill_null(0),
            # 0 is no time, in what was before as in what is missing now.
            pl.min_horizontal("first_seen", pl.col("ever").replace(0, None)).fill_null(0),
        )
    )
    end = splits.validation_time
    upload, first_seen = pl.col("upload_time"), pl.col("first_seen")
    # Of a video without an upload time only an event tells; that none ever comes is not known yet.
    known = ((upload > 0) & (upload < end)) | ((first_seen > 0) & (first_seen < end))
    if spec.data.split.by is SplitBy.LOO:
        known = pl.lit(True)
    is_kept = pl.col("kept").is_not_null()
    item_id = spec.features[ITEM_ID]
    assert isinstance(item_id, Vocabulary)
    items = items.sort(
        "kept", "train_count", VIDEO_ID, descending=[False, True, False], nulls_last=True
    ).with_columns(
        known_by_train_end=(known | is_kept).cast(pl.Int64),
        in_vocabulary=(
            is_kept | ((pl.col("train_count") > 0) & (pl.int_range(pl.len()) < item_id.max_size))
        ).cast(pl.Int64),
    )
    vocabulary = items.filter(pl.col("in_vocabulary") == 1)
    rest = items.filter(pl.col("in_vocabulary") == 0).sort(
        "known_by_train_end", VIDEO_ID, descending=[True, False]
    )
    items = pl.concat([vocabulary, rest]).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(ITEM)
    )
    vectors = {columns_of(name, text)[0].name for name, text in spec.texts.items()}
    columns = [as_column(c) for c in spec.catalog_columns if c.name not in vectors]
    return items.select(columns), int(unknown or 0)


def key_codes(catalog: pl.DataFrame, column: str) -> tuple[pl.Series, pl.Series]:
    """An item column's values as small numbers, for shares over it.

    Returns:
        The values in order, and the code of each item's by catalog id; -1 where it is missing
        and for id 0.
    """
    values = catalog[column].unique().sort()
    values = values.filter(values != "")
    codes = catalog.select(
        pl.col(column).replace_strict(
            values, pl.int_range(len(values), eager=True, dtype=pl.Int32), default=-1
        )
    ).to_series()
    return values, pl.concat([pl.Series([-1], dtype=pl.Int32), codes.alias("")])


def share_columns(spec: FeatureSpec) -> dict[str, str]:
    """For each Distribution the catalog column that it counts."""
    return {
        name: columns_of(feature.of, spec.features[feature.of])[0].name
        for name, feature in spec.of(Entity.USER)
        if isinstance(feature, Distribution)
    }
