"""Labelled events and profiles to rows and queries, each as of its own moment."""

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.pvalue import TaggedOutput

from preprocessing import assets
from preprocessing.catalog import (
    deduplicate_table,
)
from preprocessing.columns import USER_ID
from preprocessing.contract import VIDEO_ID, Table
from preprocessing.events import FILE
from preprocessing.features import FeatureSpec
from preprocessing.frames import pack, split_by, unpack, unpack_all
from preprocessing.item_statistics import (
    StatisticsAt,
)
from preprocessing.labels import label
from preprocessing.manifest import Splits
from preprocessing.parsing import empty_rows
from preprocessing.progress import count
from preprocessing.rows import HASH, Group, World


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
