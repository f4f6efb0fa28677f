"""The train rows by a straight Polars script: no Beam, no checks, nothing else written.

It is what someone who knows Polars would write for the features of `setting.config`, all in memory:
ids become numbers at once, and what was known at a moment is found by binary search in one sorted
key. Its rows are equal to the job's, and go to the same encoder; the test in
tests/test_benchmark_preprocessing.py compares them. It does none of what else a dataset holds:
queries, users, item statistics, vocabularies, dead letters, counters, hashes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from configs.kinds import EVENTS, Distribution
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY, Column, DType
from preprocessing.features import spec_of
from preprocessing.records import Values, encode_rows
from preprocessing.splits import parse_date

_READ = [
    "event",
    "user_id",
    "video_id",
    "timestamp",
    "watch_sec",
    "video_duration",
    "position",
    "device",
    "propensity",
    "session_id",
]
_KEY = ["user", "timestamp", "video", "code"]
_DAY_BITS = 20


def run(config: Config, tables: Mapping[str, str], output: Path) -> int:
    """Writes the train rows to `output`; returns how many."""
    spec = spec_of(config)
    validation_time = parse_date("validation_date", config.data.split.validation_date)
    users = pl.read_parquet(tables["users"]).sort("user_id").with_row_index("user")
    videos = pl.read_parquet(tables["videos"]).sort("video_id").with_row_index("video")
    events = _read_events(tables["events"], users, videos)

    positive_event = pl.col("event").is_in(config.data.positive.events) | (
        (pl.col("event") == "watch")
        & (
            pl.col("watch_sec")
            > config.data.positive.min_watch_fraction
            * pl.coalesce("video_duration", "duration_sec")
        )
    )
    positives = (
        events.filter(positive_event)
        .unique(["user", "video"], keep="first", maintain_order=True)
        .with_row_index("row")
    )
    rows = _labels(positives, events, config, validation_time)
    items = _number_items(rows, events, videos, validation_time)
    item_of = items.sort("video")["item"]
    rows = rows.with_columns(item=item_of.gather(rows["video"]))

    # Where each row's history ends: the user's positives strictly before its moment.
    span = int(events["timestamp"].max()) + 2
    key = positives["user"].cast(pl.Int64) * span + positives["timestamp"]
    of_user = positives["user"]
    rows = rows.with_columns(
        first=of_user.search_sorted(rows["user"]),
        bound=key.search_sorted(rows["user"].cast(pl.Int64) * span + rows["as_of"]),
        hash=pl.struct("user", "video", "as_of").hash(),
    ).with_columns(shard=pl.col("hash") % config.data.shards)
    rows = rows.sort("shard", "hash")
    categories, affinity = _affinity(
        rows, positives, videos, span, max_keys=_affinity_of(config).max_keys
    )
    names = categories.cast(pl.Binary).to_list()
    lists = _Lists(
        items=item_of.gather(positives["video"]).to_numpy(),
        times=positives["timestamp"].to_numpy(),
        places=np.searchsorted(affinity["place"].to_numpy(), np.arange(len(rows) + 1)),
        keys=[names[code] for code in affinity["category"].to_list()],
        counts=affinity["count"].to_numpy(),
    )
    rows = _finish(rows, positives, events, users)
    output.mkdir(parents=True)
    start = 0
    for (shard,), part in rows.group_by("shard", maintain_order=True):
        block = {
            column.name: lists.of(column.name, part, start, column.max_length)
            if column.max_length is not None
            else _scalar(part, column)
            for column in spec.train_columns
        }
        start += len(part)
        with (output / f"{shard:05d}.tfrecord").open("wb") as file:
            file.writelines(
                encode_rows(
                    spec.train_columns,
                    block,
                    rows=len(part),
                    rows_per_record=config.data.rows_per_record,
                )
            )
    return len(rows)


def _affinity_of(config: Config) -> Distribution:
    return next(f for f in config.features.values() if isinstance(f, Distribution))


def _read_events(where: str, users: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """One event of each name, user, video and second, by user and time; ids as numbers."""
    events = (
        pl.scan_parquet(f"{where}/*.parquet")
        .select(_READ)
        .join(users.lazy().select("user_id", "user"), on="user_id")
        .join(videos.lazy().select("video_id", "video", "duration_sec"), on="video_id")
        .with_columns(code=pl.col("event").cast(pl.Enum(EVENTS)).to_physical())
        .drop("user_id", "video_id")
        .collect()
    )
    events = events.sort(*_KEY, "watch_sec", descending=[False] * 4 + [True], nulls_last=True)
    same = events.select(
        pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in _KEY).fill_null(False)
    ).to_series()
    return events.filter(~same) if same.any() else events


def _labels(
    positives: pl.DataFrame, events: pl.DataFrame, config: Config, validation_time: int
) -> pl.DataFrame:
    """The train labels, as of the impressions that they answer."""
    pair = {"by": ["user", "video"], "on": "timestamp", "check_sortedness": False}
    impressions = events.filter(pl.col("event") == "impression").select(
        "user",
        "video",
        "timestamp",
        pl.col("timestamp").alias("shown"),
        *(
            pl.col(c).alias(f"{c}_shown")
            for c in ("device", "position", "propensity", "session_id")
        ),
    )
    against = events.filter(pl.col("event").is_in(["dislike", "report"])).select(
        "user", "video", "timestamp", pl.col("timestamp").alias("against")
    )
    until = pl.min_horizontal(
        pl.col("timestamp") + config.data.label_window_sec, validation_time - 1
    )
    shown = pl.col("shown").is_not_null()
    return (
        positives.filter(pl.col("timestamp") < validation_time)
        .join_asof(impressions, **pair)
        .join_asof(against, strategy="forward", **pair)
        .filter((pl.col("against") > until) | pl.col("against").is_null())
        .with_columns(
            as_of=pl.coalesce("shown", "timestamp"),
            device=pl.when(shown).then("device_shown").otherwise("device"),
            position=pl.coalesce("position_shown", "position"),
            propensity=pl.coalesce("propensity_shown", "propensity"),
            session_id=pl.coalesce("session_id_shown", "session_id"),
        )
    )


def _number_items(
    rows: pl.DataFrame, events: pl.DataFrame, videos: pl.DataFrame, validation_time: int
) -> pl.DataFrame:
    """`video` and its catalog id `item`."""
    seen = events.group_by("video").agg(first_seen=pl.col("timestamp").min())
    trained = rows.group_by("video").agg(train_count=pl.len())
    upload, first_seen = pl.col("upload_time").fill_null(0), pl.col("first_seen").fill_null(0)
    known = (
        ((upload > 0) & (upload < validation_time))
        | ((first_seen > 0) & (first_seen < validation_time))
        | ((upload == 0) & (first_seen == 0))
    )
    return (
        videos.join(seen, on="video", how="left")
        .join(trained, on="video", how="left")
        .with_columns(pl.col("train_count").fill_null(0), known=known)
        .sort("train_count", "known", "video", descending=[True, True, False])
        .select("video", item=pl.int_range(1, pl.len() + 1))
    )


def _affinity(
    rows: pl.DataFrame, positives: pl.DataFrame, videos: pl.DataFrame, span: int, *, max_keys: int
) -> tuple[pl.Series, pl.DataFrame]:
    """The categories, and by row of `rows` the most frequent: `place`, `category`, `count`."""
    categories = videos["category"].drop_nulls().unique().sort()
    categories = categories.filter(categories != "")
    code_of = videos.select(
        pl.col("category").replace_strict(
            categories, pl.int_range(len(categories), eager=True), default=None
        )
    ).to_series()
    keyed = positives.select(
        "user", "timestamp", category=code_of.gather(positives["video"])
    ).drop_nulls()
    width = max(1, len(categories))
    keyed = keyed.select(
        "user", "timestamp", pair=pl.col("user").cast(pl.Int64) * width + pl.col("category")
    ).sort("pair", "timestamp")
    pairs = keyed.select("user", "pair").unique("pair", keep="first", maintain_order=True)
    key = keyed["pair"] * span + keyed["timestamp"]
    cells = (
        rows.select("user", "as_of", place=pl.int_range(pl.len()))
        .join(pairs, on="user")
        .with_columns(category=pl.col("pair") % width)
    )
    upto = key.search_sorted(cells["pair"] * span + cells["as_of"])
    count = upto.cast(pl.Int64) - keyed["pair"].search_sorted(cells["pair"]).cast(pl.Int64)
    cells = (
        cells.select("place", "category", count=count)
        .filter(pl.col("count") > 0)
        .sort("place", "count", "category", descending=[False, True, False])
    )
    if width > max_keys:
        cells = cells.filter(pl.int_range(pl.len()).over("place") < max_keys)
    return categories, cells


def _newest_before(
    events: pl.DataFrame, rows: pl.DataFrame, day: pl.Series, *, window_days: int | None
) -> pl.Series:
    """For each row, the newest of these events of its video before its day; 0 where none."""
    by_day = (
        events.group_by(
            key=(pl.col("video").cast(pl.Int64) * 2**_DAY_BITS)
            + pl.col("timestamp") // SECONDS_PER_DAY
        )
        .agg(newest=pl.col("timestamp").max())
        .sort("key")
    )
    base = rows["video"].cast(pl.Int64) * 2**_DAY_BITS
    found = by_day["key"].search_sorted(base + day).cast(pl.Int64) - 1
    at = by_day[np.maximum(found.to_numpy(), 0)]
    low = base if window_days is None else base + day - window_days
    return (at["newest"]).zip_with(
        (found >= 0) & (at["key"] >= low) & (at["key"] < base + day),
        pl.zeros(len(rows), eager=True),
    )


def _finish(
    rows: pl.DataFrame, positives: pl.DataFrame, events: pl.DataFrame, users: pl.DataFrame
) -> pl.DataFrame:
    """All scalar columns."""
    day = rows["as_of"] // SECONDS_PER_DAY
    impressions = events.filter(pl.col("event") == "impression")
    last = positives["timestamp"].gather(
        rows.select(
            pl.when(pl.col("bound") > pl.col("first")).then(pl.col("bound") - 1)
        ).to_series()
    )
    newest = pl.select(
        pl.max_horizontal(
            last.fill_null(0),
            _newest_before(positives, rows, day, window_days=None),
            _newest_before(impressions, rows, day, window_days=7),
        )
    ).to_series()
    return rows.join(users, on="user", how="left", maintain_order="left").with_columns(
        day=day,
        feature_time=newest,
        timestamp=pl.col("as_of"),
        label_time=pl.col("timestamp"),
        label_event=pl.col("event"),
        weight=pl.lit(1.0),
        positive_count=pl.col("bound") - pl.col("first"),
    )


_MISSING = {"position": -1, "age": -1.0}
_NOTHING = {DType.BYTES: "", DType.INT64: 0, DType.FLOAT: 0.0}
_TYPE = {DType.BYTES: pl.String, DType.INT64: pl.Int64, DType.FLOAT: pl.Float32}


def _scalar(part: pl.DataFrame, column: Column) -> Values:
    missing = _MISSING.get(column.name, _NOTHING[column.dtype])
    series = part[column.name].cast(_TYPE[column.dtype]).fill_null(missing)
    if column.dtype is DType.BYTES:
        return Values(flat=series.cast(pl.Binary).to_list())
    return Values(flat=series.to_numpy())


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """What list columns are cut from.

    Attributes:
        items: catalog id of each positive, by user and time.
        times: of each positive.
        places: by row, where its cells of `counts` and `keys` begin; one more than rows.
        keys: categories, by row.
        counts: of them.
    """

    items: np.ndarray
    times: np.ndarray
    places: np.ndarray
    keys: list[bytes]
    counts: np.ndarray

    def of(self, name: str, part: pl.DataFrame, start: int, max_length: int) -> Values:
        """The column of the rows from `start` on."""
        if name.startswith("category_affinity"):
            low, high = self.places[start], self.places[start + len(part)]
            lengths = np.diff(self.places[start : start + len(part) + 1])
            of_rows = self.keys if name.endswith("_key") else self.counts
            return Values(flat=of_rows[low:high], lengths=lengths)
        bound = part["bound"].to_numpy().astype(np.int64)
        first = np.maximum(part["first"].to_numpy().astype(np.int64), bound - max_length)
        at = pl.select(pl.int_ranges(pl.Series(first), pl.Series(bound))).to_series()
        at = at.explode(empty_as_null=False).to_numpy()
        of_positives = self.items if name.endswith("_item") else self.times
        return Values(flat=of_positives[at], lengths=bound - first)
