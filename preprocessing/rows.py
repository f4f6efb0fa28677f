"""The rows of one group of users: train rows, queries, and each user's latest state."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import EVENTS, MS_PER_MINUTE, Distribution, Entity
from configs.schema import Form, Seen, SplitBy, Ties
from preprocessing.catalog import as_column, key_codes, share_columns
from preprocessing.columns import END_SUFFIX, ITEM, SECONDS_PER_DAY, TIMESTAMP, USER_ID
from preprocessing.contract import EVENT, VIDEO_ID
from preprocessing.events import in_order
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.frames import flatten, ragged
from preprocessing.hashing import combine, hash_strings
from preprocessing.item_statistics import DAY, NEWEST, StatisticsAt
from preprocessing.labels import ORIGIN, SPLITS, WATCH_MS, Status
from preprocessing.manifest import Splits
from preprocessing.negatives import negatives_of
from preprocessing.point_in_time import Moments, Timeline
from preprocessing.sequences import Sequences, sequences_of

Int64s = npt.NDArray[np.int64]

HASH = "hash"
"""Orders the rows of a file; not written."""

PLACE = "place"
"""Orders the rows of a sequence; not written."""

MAX_LISTED = 1 << 22
"""Events that all `next` queries of one user together may list, in rough: 200 MB of lists."""

_NOT_LOGGED = {"position": -1, "propensity": 0.0, "session_id": ""}
_LOGGED_TYPE = {"position": pl.Int64(), "propensity": pl.Float64(), "session_id": pl.String()}


@dataclass(frozen=True, kw_only=True)
class World:
    """What all groups of users share.

    Attributes:
        spec: of the run.
        splits: the cuts.
        catalog: every item.
        statistics: of items by day.
        next_limit: for each split, the largest hash that a `next` query may have.
    """

    spec: FeatureSpec
    splits: Splits
    catalog: pl.DataFrame
    statistics: StatisticsAt
    next_limit: dict[str, int]

    @cached_property
    def key_of_item(self) -> dict[str, npt.NDArray[np.int32]]:
        """For each Distribution, the code of its key by catalog id."""
        return {
            name: key_codes(self.catalog, column)[1].to_numpy()
            for name, column in share_columns(self.spec).items()
        }


def label_hashes(labelled: pl.DataFrame, rows: Int64s) -> npt.NDArray[np.uint64]:
    """Hash of (user, item, timestamp) of the labels in these rows, uint64 [n]."""
    labels = labelled[rows]
    as_of = labelled[TIMESTAMP].to_numpy()[labels[ORIGIN].to_numpy()]
    return combine(hash_strings(labels[USER_ID]), hash_strings(labels[VIDEO_ID]), as_of)


class Group:
    """One group of users with all their events."""

    def __init__(self, events: pl.DataFrame, profiles: pl.DataFrame, world: World):
        """Takes a group.

        Args:
            events: labelled, in order.
            profiles: of the users table, one row each.
            world: what groups share.
        """
        self._world = world
        self._spec = world.spec
        self._events = events
        users = pl.concat([events[USER_ID].unique(), profiles[USER_ID]]).unique().sort()
        self._profiles = users.to_frame().join(
            profiles, on=USER_ID, how="left", maintain_order="left"
        )
        item_of = world.catalog.select(VIDEO_ID, ITEM)
        self.timeline = Timeline(events, users, item_of)

    def train(self) -> pl.DataFrame:
        """Train rows: `spec.train_columns` and `hash`.

        In the sequence form the rows of a sequence share a hash, and have a `place` in the order
        of what they know, and an end in the history that stands at the last of them.
        """
        labels, moments = self._labels(Status.TRAIN, strict=self._is_strict)
        if self._spec.data.form is Form.ROW:
            columns = self._features(moments, self._origin[labels])
            columns |= self._label_columns(labels, moments)
        else:
            found = self._sequences(moments)
            columns = self._features(
                moments, self._origin[labels], history=(found.item, found.time)
            )
            columns |= self._label_columns(labels, moments)
            for name in self._spec.history_columns:
                columns[name + END_SUFFIX] = pl.Series(found.end)
            columns[HASH] = pl.Series(found.hashes)
            columns[PLACE] = pl.Series(np.arange(len(labels)))
        for column in self._spec.negative_columns:
            columns[column.name] = negatives_of(
                self.timeline, self._events, labels, moments, data=self._spec.data
            )
        return pl.DataFrame(columns)

    def queries(self) -> dict[str, pl.DataFrame]:
        """Queries by part: `spec.query_columns` and `hash`."""
        parts: dict[str, pl.DataFrame] = {}
        for split in ("validation", "test"):
            status = SPLITS[split]
            if self._spec.data.split.by is SplitBy.LOO:
                group = self._in_file_order
                parts[f"queries/{split}/loo-file"] = group._label_queries(status, strict=False)
                parts[f"queries/{split}/loo-strict"] = self._label_queries(status, strict=True)
            else:
                parts[f"queries/{split}/window"] = self._window_queries(split)
                parts[f"queries/{split}/next"] = self._label_queries(
                    status, strict=self._is_strict, limit=self._world.next_limit[split]
                )
        return parts

    def positives(self) -> pl.DataFrame:
        """Every label of any split, and a row with a null `order` for each user.

        Returns:
            `user_id`, `item`, `timestamp`, `order`, `split`; a user's row in `users` is known only
            when all users are, those without a label too.
        """
        line = self.timeline
        names = np.array(["", *SPLITS])
        number = np.zeros(max(Status) + 1, np.int64)
        for place, status in enumerate(SPLITS.values(), 1):
            number[status] = place
        labels = np.flatnonzero(number[line.status] > 0)
        user = line.user[labels]
        found = pl.DataFrame(
            {
                USER_ID: line.users[user],
                ITEM: line.item[labels],
                TIMESTAMP: line.time[labels],
                "order": np.arange(len(labels)) - np.searchsorted(user, user),
                "split": pl.Series(names, dtype=pl.String)[number[line.status[labels]]],
            }
        )
        return pl.concat([found, line.users.alias(USER_ID).to_frame()], how="diagonal")

    def latest(self) -> pl.DataFrame:
        """Every user as a request after the last event carries them, items by video id."""
        users = np.arange(len(self.timeline.users))
        moments = self.timeline.strictly_before(
            users, np.full(len(users), self._world.splits.end_time)
        )
        columns = self._features(moments, self.timeline.newest_row(moments))
        items = columns.pop(self._spec.history_item_column)
        names = pl.concat([pl.Series([""]), self._world.catalog[VIDEO_ID]])
        history, _ = self._spec.sequence
        columns[f"{history}_item_id"] = _look_up(items, names)
        for name, column in share_columns(self._spec).items():
            values, _ = key_codes(self._world.catalog, column)
            columns[f"{name}_key"] = _look_up(columns[f"{name}_key"], values)
        columns["as_of"] = columns[TIMESTAMP]
        order = [c.name for c in self._spec.request_columns if c.name not in (TIMESTAMP, USER_ID)]
        return pl.DataFrame({name: columns[name] for name in (USER_ID, *order, "as_of")})

    @property
    def _is_strict(self) -> bool:
        return self._spec.data.ties is Ties.STRICT

    @cached_property
    def _origin(self) -> Int64s:
        return self._events[ORIGIN].to_numpy().astype(np.int64)

    @cached_property
    def _in_file_order(self) -> "Group":
        if not self._is_strict:
            return self
        moved = in_order(self._events.with_row_index("row"), Ties.FILE_ORDER)
        place = np.empty(len(moved), np.int32)
        place[moved["row"].to_numpy()] = np.arange(len(moved))
        origin = moved[ORIGIN].to_numpy()
        moved = moved.drop("row").with_columns(
            pl.Series(ORIGIN, np.where(origin >= 0, place[origin], -1).astype(np.int32))
        )
        return Group(moved, self._profiles, self._world)

    def _labels(self, status: Status, *, strict: bool) -> tuple[Int64s, Moments]:
        """Rows of the labels of a split and the moments that they are as of, by user and bound."""
        labels = np.flatnonzero(self.timeline.status == status)
        moments = self._moments(self._origin[labels], strict=strict)
        order = np.lexsort((labels, moments.bound, moments.user))
        return labels[order], moments.take(order)

    def _moments(self, origin: Int64s, *, strict: bool) -> Moments:
        line = self.timeline
        if strict:
            return line.strictly_before(line.user[origin], line.time[origin])
        return line.in_row_order(origin)

    def _sequences(self, moments: Moments) -> Sequences:
        return sequences_of(
            self.timeline,
            moments,
            length=self._spec.sequence[1].max_length,
            context=self._spec.data.sequence_context,
        )

    def _features(
        self,
        moments: Moments,
        context_rows: Int64s,
        *,
        history: tuple[pl.Series, pl.Series] | None = None,
    ) -> dict[str, pl.Series]:
        """The row's feature columns; lists of shares hold codes of their keys.

        Args:
            moments: that the rows are as of.
            context_rows: rows of the events that say what the context was.
            history: items and times; None: the last positives of each row.
        """
        spec, line = self._spec, self.timeline
        sources = {
            Entity.USER: self._profiles[moments.user],
            Entity.CONTEXT: _take(self._events, context_rows),
        }
        columns: dict[str, pl.Series] = {
            USER_ID: line.users[moments.user],
            TIMESTAMP: pl.Series(moments.time),
        }
        items, times = history or line.history(moments, spec.sequence[1].max_length)
        columns |= dict(zip(spec.history_columns, (items, times), strict=True))
        for name, feature in spec.of(Entity.USER, Entity.CONTEXT):
            if isinstance(feature, Distribution):
                keys, counts = line.shares(moments, self._world.key_of_item[name], feature.max_keys)
                columns[f"{name}_key"], columns[f"{name}_count"] = keys, counts
            elif feature.column and feature.column not in columns:
                column = columns_of(name, feature)[0]
                columns[column.name] = sources[feature.entity].select(as_column(column)).to_series()
        for column_name, count in spec.counts(Entity.USER).items():
            columns[column_name] = pl.Series(line.count(moments, count)[0])
        return columns

    def _label_columns(self, labels: Int64s, moments: Moments) -> dict[str, pl.Series]:
        line, events = self.timeline, self._events
        day = moments.time // SECONDS_PER_DAY
        own, origin = events[labels], events[self._origin[labels]]
        logged = {
            name: pl.DataFrame({"own": own[name], "origin": origin[name]})
            .select(pl.coalesce("origin", "own", pl.lit(missing, _LOGGED_TYPE[name])))
            .to_series()
            for name, missing in _NOT_LOGGED.items()
        }
        return {
            ITEM: pl.Series(line.item[labels]),
            DAY: pl.Series(day),
            "feature_time": pl.Series(self._feature_time(moments, line.item[labels], day)),
            "label_time": pl.Series(line.time[labels]),
            "label_event": pl.Series(EVENTS, dtype=pl.String)[own[EVENT].to_numpy()],
            "weight": self._weights(own),
            **logged,
            HASH: pl.Series(label_hashes(events, labels)),
        }

    def _weights(self, own: pl.DataFrame) -> pl.Series:
        minutes = own[WATCH_MS].fill_null(0).to_numpy() / MS_PER_MINUTE
        weights = 1 + self._spec.data.watch_weight * np.log1p(minutes)
        return pl.Series(weights.astype(np.float32))

    def _feature_time(self, moments: Moments, item: Int64s, day: Int64s) -> Int64s:
        line, spec = self.timeline, self._spec
        first, last = line.positives(moments)
        time = np.concatenate([[0], line.time[line.positive]])
        newest = np.where(last > first, time[last], 0)
        for count in spec.counts(Entity.USER).values():
            newest = np.maximum(newest, line.count(moments, count)[1])
        if spec.statistic_columns:
            newest = np.maximum(newest, self._world.statistics.at(item, day, NEWEST))
        return newest

    def _query_columns(self, moments: Moments) -> dict[str, pl.Series]:
        items, times = self.timeline.history(moments, None)
        only_positives = self._spec.data.seen is Seen.POSITIVE
        return {
            "positive_item": items,
            "positive_timestamp": times,
            "seen_item": self.timeline.seen(moments, only_positives=only_positives),
        }

    def _label_queries(
        self, status: Status, *, strict: bool, limit: int | None = None
    ) -> pl.DataFrame:
        """A query for each label of a split, features as a train row's."""
        labels, moments = self._labels(status, strict=strict)
        hashes = label_hashes(self._events, labels)
        if limit is not None:
            kept = (hashes <= np.uint64(limit)) & self._is_within_user_limit(moments.user, hashes)
            labels, hashes, moments = labels[kept], hashes[kept], moments.take(kept)
        item = self.timeline.item[labels].astype(np.int32)
        return pl.DataFrame(
            {
                **self._features(moments, self._origin[labels]),
                **self._query_columns(moments),
                "relevant_item": ragged(item, np.ones(len(item), np.int64)),
                HASH: pl.Series(hashes),
            }
        )

    def _is_within_user_limit(
        self, user: Int64s, hashes: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """Which of these queries [n], each of which lists a user's past, are not too much.

        Of a user with E events those of the MAX_LISTED / E smallest hashes are kept.
        """
        events = np.diff(self.timeline.start)
        allowed = np.maximum(MAX_LISTED // np.maximum(events, 1), 1)
        order = np.lexsort((hashes, user))
        place = np.empty(len(user), np.int64)
        place[order] = np.arange(len(user)) - np.searchsorted(user[order], user[order])
        return place < allowed[user]

    def _window_queries(self, split: str) -> pl.DataFrame:
        """A query for each user with a label in the split, as of the split's first second."""
        line, splits = self.timeline, self._world.splits
        since = splits.validation_time if split == "validation" else splits.test_time
        labels = np.flatnonzero(line.status == SPLITS[split])
        pair = line.user[labels] * (len(self._world.catalog) + 1) + line.item[labels]
        labels = labels[np.sort(np.unique(pair, return_index=True)[1])]
        users, count = np.unique(line.user[labels], return_counts=True)
        moments = line.strictly_before(users, np.full(len(users), since))
        return pl.DataFrame(
            {
                **self._features(moments, line.newest_row(moments)),
                **self._query_columns(moments),
                "relevant_item": ragged(line.item[labels].astype(np.int32), count),
                HASH: pl.Series(combine(hash_strings(line.users[users]), moments.time)),
            }
        )


def _take(frame: pl.DataFrame, rows: Int64s) -> pl.DataFrame:
    """The given rows; row -1 holds nulls."""
    index = pl.Series(rows)
    index = index.set(index < 0, None)
    return frame.select(pl.all().gather(index))


def _look_up(codes: pl.Series, values: pl.Series) -> pl.Series:
    """Lists of codes to lists of strings."""
    flat, lengths = flatten(codes)
    return ragged(values.gather(flat.astype(np.int64)).rechunk().to_arrow(), lengths)
