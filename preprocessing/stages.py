"""What the job does with each element; `pipeline.py` says in which order.

Elements are (group of users, packed frame), so that work is over columns; what all groups share
arrives as a side input.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.pvalue import TaggedOutput

from configs.errors import UserError
from configs.kinds import TextEncoder
from configs.schema import DamagedFiles, Data
from preprocessing import assets, tally
from preprocessing.catalog import (
    build_catalog,
    deduplicate_table,
    item_facts,
    with_earlier_videos,
)
from preprocessing.contract import VIDEO_ID, Table, check_present
from preprocessing.events import FILE, deduplicate
from preprocessing.features import (
    ITEM,
    SECONDS_PER_DAY,
    TEXT_LENGTH,
    TIMESTAMP,
    USER_ID,
    FeatureSpec,
)
from preprocessing.frames import pack, unpack, unpack_all
from preprocessing.hashing import hash_strings
from preprocessing.item_statistics import (
    StatisticsAt,
    add_daily_sums,
    daily_sums,
    item_counts,
    item_statistics,
)
from preprocessing.labels import SPLITS, STATUS, Status, label
from preprocessing.manifest import Splits
from preprocessing.parsing import empty_rows, parse_batch, parse_lines
from preprocessing.previous import Previous
from preprocessing.progress import count
from preprocessing.rows import HASH, Group, World, label_hashes
from preprocessing.sources import SourceFile, damage_of, read_batches, read_lines, read_schema
from preprocessing.splits import Histogram, cut_days, find_splits
from preprocessing.text import encoder_of

Packed = tuple[int, bytes]
Days = tuple[Histogram, int, int]
"""Events by day, and the seconds of the first and the last event."""


class Read(beam.DoFn):
    """Files to (group, frame): events, and tagged `videos`, all in one group, and `users`."""

    def __init__(self, tables: Mapping[str, Table], data: Data):
        """Takes what the files hold, and how many groups users are put in."""
        self._tables = tables
        self._partitions = data.partitions
        self._quarantines = data.damaged_files is DamagedFiles.QUARANTINE

    def process(self, file: SourceFile) -> Iterator[Any]:
        """Yields frames, and tagged `dead` and `tally` what was wrong and how much there was."""
        table = self._tables[file.table]
        yield TaggedOutput("tally", tally.of_file(file))
        # A chunk that went out cannot be called back: a file is whole before its first one does,
        # unless the job is to fail anyway.
        if self._quarantines and (damage := damage_of(file)):
            yield TaggedOutput("tally", tally.of_quarantined(file, damage))
            return
        if file.is_parquet:
            names = [name for name in read_schema(file).names if name in table.fields]
            chunks = (parse_batch(rows, first, table) for first, rows in read_batches(file, names))
        else:
            chunks = (
                parse_lines(lines, first, table)
                for first, lines in read_lines(file, table.max_line_bytes)
            )
        for parsed in chunks:
            yield TaggedOutput("tally", tally.of_chunk(file, parsed))
            count(len(parsed.rows) + len(parsed.dead), f"rows of {file.table}")
            if len(parsed.dead):
                dead = parsed.dead.with_columns(pl.lit(file.path).alias(FILE))
                yield TaggedOutput("dead", (0, pack(dead)))
            rows = parsed.rows.with_columns(pl.lit(file.index, dtype=pl.Int32).alias(FILE))
            if file.table == "videos":
                yield TaggedOutput("videos", (0, pack(rows)))
                continue
            group = hash_strings(rows[USER_ID]) % np.uint64(self._partitions)
            for part in split_by(rows, group.astype(np.int64)):
                yield part if file.table == "events" else TaggedOutput("users", part)


def split_by(frame: pl.DataFrame, group: np.ndarray) -> Iterator[Packed]:
    """The frame cut up by group."""
    grouped = frame.with_columns(pl.Series("group", group))
    for part in grouped.partition_by("group", maintain_order=True):
        yield int(part["group"][0]), pack(part.drop("group"))


def check_tables(
    found: tally.Tally,
    files: tuple[SourceFile, ...],
    tables: Mapping[str, Table],
    max_bad_fraction: float,
) -> tally.Tally:
    """Passes the tally on if every table that was given is fit for work."""
    given = dict.fromkeys(file.table for file in files)
    for table in given:
        tally.check_readable(table, found, max_bad_fraction)
    check_present((tables[t] for t in given), {t: found[t]["present"] for t in given})
    return found


class Deduplicate(beam.DoFn):
    """All frames of a group to one, in order."""

    def __init__(self, spec: FeatureSpec):
        """Takes the rules."""
        self._spec = spec

    def process(self, group: tuple[int, Iterable[bytes]], tally_read: tally.Tally) -> Iterator[Any]:
        """Yields the group's events; waits for `tally_read`, which is what says to go on."""
        del tally_read
        key, parts = group
        events = unpack_all(parts)
        assert events is not None
        kept, dropped = deduplicate(events, self._spec.data.ties)
        count(len(events), "events ordered")
        by_file = {str(file): found for file, found in dropped[FILE].value_counts().rows()}
        yield TaggedOutput("tally", {"duplicate": by_file})
        yield key, pack(kept)


def one_row_a_video(
    group: tuple[int, Iterable[bytes]], tally_read: tally.Tally, previous: Previous | None = None
) -> tuple[bytes, int]:
    """The videos by id, those of an earlier dataset too, and how many rows were left out."""
    del tally_read
    rows = unpack_all(group[1])
    assert rows is not None
    kept, dropped = deduplicate_table(rows, VIDEO_ID)
    if previous is not None:
        kept = with_earlier_videos(kept, unpack(previous.items))
    return pack(kept), dropped


def count_days(group: Packed) -> Days:
    """The events of a group by day."""
    time = unpack(group[1], [TIMESTAMP])[TIMESTAMP].to_numpy()
    return _histogram(time // SECONDS_PER_DAY), int(time.min()), int(time.max())


def add_days(several: Iterable[Days]) -> Days:
    """The sum over groups; a first and last of 0 where there are none."""
    found = [each for each in several if each[0]]
    return (
        tally.add(days for days, _, _ in found),
        min((first for _, first, _ in found), default=0),
        max((last for _, _, last in found), default=0),
    )


def last_days(days: Days, window_days: int) -> Days:
    """The same of the newest so many UTC days, the last event's among them."""
    histogram, first, last = days
    since = last // SECONDS_PER_DAY - window_days + 1
    within = {day: count for day, count in histogram.items() if day >= since}
    return within, max(first, since * SECONDS_PER_DAY), last


class Recent(beam.DoFn):
    """Events of a group to those of the days that are kept."""

    def process(self, group: Packed, days: Days) -> Iterator[Any]:
        """Yields the group's events, if some are left, and tagged how many were not."""
        key, packed = group
        events = unpack(packed)
        is_recent = events[TIMESTAMP] >= days[1]
        left_out = events.filter(~is_recent)[FILE].value_counts().rows()
        yield TaggedOutput("tally", {"outside_window": {str(f): n for f, n in left_out}})
        if is_recent.any():
            yield key, pack(events.filter(is_recent))


def _histogram(values: np.ndarray) -> Histogram:
    distinct, counts = np.unique(values, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def count_seconds(group: Packed, spec: FeatureSpec, days: Days) -> Histogram:
    """The events of a group by second, on days with a cut."""
    time = unpack(group[1], [TIMESTAMP])[TIMESTAMP].to_numpy()
    return _histogram(time[np.isin(time // SECONDS_PER_DAY, cut_days(spec.data.split, days[0]))])


def cut(seconds: Histogram, spec: FeatureSpec, days: Days) -> Splits:
    """Where the log is cut."""
    histogram, first, last = days
    return find_splits(
        spec.data.split, days=histogram, seconds=seconds, start_time=first, end_time=last + 1
    )


class Label(beam.DoFn):
    """Events of a group to labelled events."""

    def __init__(self, spec: FeatureSpec):
        """Takes the rules."""
        self._spec = spec

    def process(self, group: Packed, videos: tuple[bytes, int], splits: Splits) -> Iterator[Any]:
        """Yields the group's events, and tagged what they say of items, labels and counts."""
        key, packed = group
        durations = unpack(videos[0], [VIDEO_ID, "duration_sec"])
        events = label(unpack(packed), durations, data=self._spec.data, splits=splits)
        count(len(events), "events labelled")
        yield TaggedOutput("items", (0, pack(item_facts(events))))
        yield TaggedOutput("daily", (0, pack(daily_sums(events, item_counts(self._spec).values()))))
        counts = events.group_by(FILE, STATUS).len().rows()
        yield TaggedOutput(
            "tally",
            tally.add({"status": {str(f): {Status(s).name: n}}} for f, s, n in counts),
        )
        status = events[STATUS].to_numpy()
        yield TaggedOutput(
            "hashes",
            {
                split: label_hashes(events, np.flatnonzero(status == SPLITS[split]))
                for split in ("validation", "test")
            },
        )
        yield key, pack(events)


class SmallestHashes(beam.CombineFn):
    """The largest of the `limit` smallest hashes of each split."""

    def __init__(self, limit: int):
        """Takes how many."""
        self._limit = limit

    def create_accumulator(self) -> dict[str, np.ndarray]:
        """None yet."""
        return {split: np.zeros(0, np.uint64) for split in ("validation", "test")}

    def add_input(
        self, smallest: dict[str, np.ndarray], hashes: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Adds the hashes of a group."""
        return self.merge_accumulators([smallest, hashes])

    def merge_accumulators(self, several: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The smallest of all."""
        found = list(several)
        return {
            split: np.sort(np.concatenate([each[split] for each in found]))[: self._limit]
            for split in ("validation", "test")
        }

    def extract_output(self, smallest: dict[str, np.ndarray]) -> dict[str, int]:
        """The bound by split."""
        return {s: int(hashes[-1]) if len(hashes) else 0 for s, hashes in smallest.items()}


def check_labels(found: tally.Tally, splits: Splits) -> tally.Tally:
    """Passes the tally on if there is something to learn from."""
    by_status = tally.add(found.get("status", {}).values())
    if not sum(count for name, count in by_status.items() if name != Status.NOT_POSITIVE.name):
        raise UserError(
            "--events: found no positive event, expected some that meet config.data.positive"
        )
    if not by_status.get(Status.TRAIN.name):
        raise UserError(
            f"config.data.split: found no label before {splits.validation_time}, where train "
            f"ends, expected some; events are from {splits.start_time} to {splits.end_time}"
        )
    return found


def number_items(
    group: tuple[int, Iterable[bytes]],
    spec: FeatureSpec,
    videos: tuple[bytes, int],
    splits: Splits,
    tally_labels: tally.Tally,
    previous: Previous | None = None,
) -> tuple[bytes, int]:
    """The catalog, and how many events name a video that the videos table does not have."""
    del tally_labels
    facts = unpack_all(group[1])
    assert facts is not None
    catalog, unknown = build_catalog(
        unpack(videos[0]),
        facts,
        spec=spec,
        splits=splits,
        previous=unpack(previous.items) if previous else None,
    )
    return pack(catalog), unknown


TEXTS_AT_ONCE = 1_024
"""Distinct texts in one element of the job, so that workers share them."""


def distinct_texts(
    videos: tuple[bytes, int], spec: FeatureSpec
) -> Iterator[tuple[TextEncoder, list[str]]]:
    """Every text that an encoder must see, once each, in blocks that the catalog alone decides."""
    columns: dict[TextEncoder, set[str]] = {}
    for feature in spec.texts.values():
        columns.setdefault(feature.encoder, set()).add(feature.column)
    for encoder, names in columns.items():
        table = unpack(videos[0], sorted(names))
        texts = pl.concat([table[name].alias("text") for name in sorted(names)])
        texts = texts.drop_nulls().unique().sort()
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield encoder, texts[start : start + TEXTS_AT_ONCE].to_list()


def embed_texts(block: tuple[TextEncoder, list[str]]) -> tuple[TextEncoder, bytes]:
    """The vectors of a block: frames of `text` and `vector`, by encoder."""
    encoder, texts = block
    vectors = encoder_of(encoder).encode(texts)
    vector = pl.Series(vectors, dtype=pl.Array(pl.Float32, TEXT_LENGTH))
    return encoder, pack(pl.DataFrame({"text": texts, "vector": vector.arr.to_list()}))


def statistics_by_day(
    group: tuple[int, Iterable[bytes]], spec: FeatureSpec, catalog: tuple[bytes, int]
) -> bytes:
    """Item statistics with the catalog's ids."""
    daily = unpack_all(group[1])
    assert daily is not None
    ids = unpack(catalog[0], [VIDEO_ID, ITEM])
    daily = add_daily_sums(daily).join(ids, on=VIDEO_ID, how="left")
    return pack(item_statistics(daily, item_counts(spec)))


class Rows(beam.DoFn):
    """Labelled events and profiles of a group to rows, by the file that they go to."""

    def __init__(self, spec: FeatureSpec, events: Table, users: Table):
        """Takes the rules, and what the tables of events and users hold."""
        self._spec = spec
        self._events = events
        self._users = users
        self._shared: tuple[Any, ...] = ()
        self._world: World | None = None

    def _world_of(
        self,
        splits: Splits,
        catalog: tuple[bytes, int],
        statistics: bytes,
        next_limit: dict[str, int],
    ) -> World:
        """What the side inputs hold; unpacked once for all groups that get the same objects."""
        shared = (splits, catalog, statistics, next_limit)
        same = len(self._shared) == len(shared) and all(map(operator.is_, self._shared, shared))
        if self._world is None or not same:
            self._shared = shared
            self._world = World(
                spec=self._spec,
                splits=splits,
                catalog=unpack(catalog[0]),
                statistics=StatisticsAt(unpack(statistics)),
                next_limit=next_limit,
            )
        return self._world

    def process(
        self,
        group: tuple[int, dict[str, Iterable[bytes]]],
        splits: Splits,
        catalog: tuple[bytes, int],
        statistics: bytes,
        next_limit: dict[str, int],
    ) -> Iterator[Any]:
        """Yields (file, frame), and tagged the latest states and what assets are made of."""
        spec = self._spec
        key, parts = group
        world = self._world_of(splits, catalog, statistics, next_limit)
        events, profiles = unpack_all(parts["events"]), unpack_all(parts["users"])
        if events is None:
            events = label(
                empty_rows(self._events).with_columns(pl.lit(0, dtype=pl.Int32).alias(FILE)),
                pl.DataFrame(schema={VIDEO_ID: pl.String, "duration_sec": pl.Float64}),
                data=spec.data,
                splits=splits,
            )
        if profiles is None:
            profiles = empty_rows(self._users)
        profiles, dropped = deduplicate_table(profiles, USER_ID)
        unknown = events.join(profiles, on=USER_ID, how="anti").height
        of_group = Group(events, profiles, world)
        train = of_group.train()
        yield TaggedOutput("values", (0, pack(assets.value_counts(train, spec))))
        scales = assets.scale_sums(
            train, spec=spec, catalog=world.catalog, statistics=world.statistics
        )
        counts = {"unknown_user": unknown, "duplicate_user": dropped, "scales": scales}
        yield TaggedOutput("tally", counts)
        yield TaggedOutput("users", (0, pack(of_group.latest())))
        yield TaggedOutput("positives", (0, pack(of_group.positives())))
        for part, frame in {"train": train, **of_group.queries()}.items():
            count(len(frame), f"rows of {part}" if part == "train" else "queries")
            shard = (frame[HASH].to_numpy() % np.uint64(spec.data.shards)).astype(np.int64)
            for number, packed in split_by(frame, shard):
                yield f"{part}/{number:05d}", packed
