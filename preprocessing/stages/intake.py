"""Raw tables to typed frames, in groups of users; what breaks the contract goes aside."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.pvalue import TaggedOutput

from configs.schema import DamagedFiles, Data
from preprocessing import tally
from preprocessing.catalog import (
    deduplicate_table,
    with_earlier_videos,
)
from preprocessing.columns import USER_ID
from preprocessing.contract import VIDEO_ID, Table, check_present
from preprocessing.events import FILE, deduplicate
from preprocessing.features import FeatureSpec
from preprocessing.frames import pack, split_by, unpack, unpack_all
from preprocessing.hashing import hash_strings
from preprocessing.parsing import parse_batch, parse_lines
from preprocessing.previous import Previous
from preprocessing.progress import count
from preprocessing.sources import SourceFile, damage_of, read_batches, read_lines, read_schema


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
