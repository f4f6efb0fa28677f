"""What the rows of a dataset must be, worked out one event at a time in plain Python.

Slow and simple on purpose; written from docs/dataset.md, not from the job.
"""

import math
from bisect import bisect_left
from collections import Counter
from typing import Any

import numpy as np

from configs.kinds import (
    COUNTABLE,
    EVENTS,
    Bag,
    Bounded,
    Count,
    Distribution,
    Entity,
    Feature,
    LogZScore,
    Measure,
)
from configs.schema import Config, Seen, SplitBy, Ties
from preprocessing.columns import default_of
from preprocessing.features import columns_of
from tests.raw_logs import DAY_S, Row

assert COUNTABLE[1:] == EVENTS


class Reference:
    """The rows, queries and tables that a log must give."""

    def __init__(self, config: Config, events: list[Row], videos: list[Row], users: list[Row]):
        """Takes the log; events in the order of (file name, line)."""
        self._data = config.data
        self._features = config.features
        self._videos = {row["video_id"]: row for row in videos}
        self._users = {row["user_id"]: row for row in users}
        kept: dict[tuple[Any, ...], Row] = {}
        for place, row in enumerate(events):
            row = {**row, "place": place}
            key = (row["user_id"], row["timestamp"], row["video_id"], row["event"])
            if key not in kept or self._rank(row) < self._rank(kept[key]):
                kept[key] = row
        self.events = sorted(kept.values(), key=self._order)
        self._by_place = sorted(
            kept.values(), key=lambda e: (e["user_id"], e["timestamp"], e["place"])
        )
        self._cut()
        self._find_positives()
        self._find_labels()

    def _rank(self, row: Row) -> Any:
        content = sorted((k, str(v)) for k, v in row.items() if k != "place")
        strict = self._data.ties is Ties.STRICT
        return (-row.get("watch_sec", -1), content if strict else row["place"])

    def _order(self, row: Row) -> Any:
        if self._data.ties is Ties.STRICT:
            tie = (row["video_id"], EVENTS.index(row["event"]))
        else:
            tie = (row["place"], 0)
        return (row["user_id"], row["timestamp"], *tie)

    def _cut(self) -> None:
        times = sorted(row["timestamp"] for row in self.events)
        self.end_time = times[-1] + 1

        def at(fraction: float) -> int:
            def is_enough(t: int) -> bool:
                return bisect_left(times, t) >= fraction * len(times) - 1e-9

            return times[0] + bisect_left(range(times[0], times[-1] + 2), True, key=is_enough)

        if self._data.split.by is SplitBy.LOO:
            self.validation_time = self.test_time = self.end_time
        else:
            self.validation_time = at(self._data.split.validation_fraction)
            self.test_time = at(self._data.split.test_fraction)

    def _meets_rule(self, row: Row) -> bool:
        rule = self._data.positive
        if row["event"] in rule.events:
            return True
        if row["event"] != "watch" or "watch_sec" not in row:
            return False
        duration = self._duration(row)
        by_share = (
            rule.min_watch_fraction < 1
            and duration is not None
            and row["watch_sec"] > rule.min_watch_fraction * duration
        )
        return by_share or 0 < rule.min_watch_sec <= row["watch_sec"]

    def _duration(self, row: Row) -> float | None:
        own: float | None = row.get("video_duration")
        return self._videos.get(row["video_id"], {}).get("duration_sec") if own is None else own

    def _find_positives(self) -> None:
        self.counters: Counter[str] = Counter()
        last: dict[tuple[str, str], int] = {}
        for row in self.events:
            row["positive"] = False
            if not self._meets_rule(row):
                self.counters["not_positive"] += 1
                continue
            self.counters["positive"] += 1
            pair = row["user_id"], row["video_id"]
            gap = row["timestamp"] - last[pair] if pair in last else None
            row["positive"] = gap is None or (
                self._data.repeats and gap > self._data.label_window_sec
            )
            self.counters["repeat"] += not row["positive"]
            last[pair] = row["timestamp"]

    def _same_pair(self, row: Row) -> list[Row]:
        pair = row["user_id"], row["video_id"]
        return [e for e in self.events if (e["user_id"], e["video_id"]) == pair]

    def _is_before(self, event: Row, moment: Row) -> bool:
        """Whether an event counts for a row that is as of `moment`."""
        if self._data.ties is Ties.STRICT:
            return bool(event["timestamp"] < moment["timestamp"])
        return (event["timestamp"], event["place"]) < (moment["timestamp"], moment["place"])

    def _find_labels(self) -> None:
        self.labels: list[Row] = []
        for row in self.events:
            if not row["positive"]:
                continue
            shown = [
                e
                for e in self._same_pair(row)
                if e["event"] == "impression" and not self._is_before(row, e)
            ]
            origin = shown[-1] if shown else row
            split = "train"
            if self._data.split.by is not SplitBy.LOO:
                if origin["timestamp"] >= self.test_time:
                    split = "test"
                elif origin["timestamp"] >= self.validation_time:
                    split = "validation"
            crosses = any(
                origin["timestamp"] < cut <= row["timestamp"]
                for cut in (self.validation_time, self.test_time)
            )
            until = row["timestamp"] + self._data.label_window_sec
            if split == "train" and not crosses:
                until = min(until, self.validation_time - 1)
            cancelled = any(
                e["event"] in ("dislike", "report") and row["timestamp"] <= e["timestamp"] <= until
                for e in self._same_pair(row)
            )
            if cancelled or crosses:
                self.counters["cancelled" if cancelled else "crosses_cut"] += 1
            else:
                self.labels.append({"row": row, "origin": origin, "split": split})
        if self._data.split.by is SplitBy.LOO:
            for user in {label["row"]["user_id"] for label in self.labels}:
                own = [label for label in self.labels if label["row"]["user_id"] == user]
                if len(own) >= 3:
                    own[-1]["split"], own[-2]["split"] = "test", "validation"

    def of_split(self, split: str) -> list[Row]:
        """The labels of a split."""
        return [label for label in self.labels if label["split"] == split]

    def _of_user(self, user: str, events: list[Row] | None = None) -> list[Row]:
        return [e for e in (events or self.events) if e["user_id"] == user]

    def _features_at(self, user: str, time: int, before: list[Row], context: Row) -> Row:
        positives = [e for e in before if e["positive"]]
        row: Row = {"user_id": user, "timestamp": time}
        for name, feature in self._features.items():
            if feature.entity is Entity.ITEM or name in ("user_id", "history"):
                continue
            if isinstance(feature, Distribution):
                of = self._features[feature.of].column
                keys = Counter(self._videos.get(e["video_id"], {}).get(of, "") for e in positives)
                del keys[""]
                common = sorted(keys.items(), key=lambda each: (-each[1], each[0]))
                row[f"{name}_key"] = [key for key, _ in common[: feature.max_keys]]
                row[f"{name}_count"] = [count for _, count in common[: feature.max_keys]]
            elif counts := sums_of(name, feature):
                for column, count in counts.items():
                    row[column] = self.summed(self._counted(before, count, time), count)
            elif feature.column != "timestamp":
                raw = self._users.get(user, {}) if feature.entity is Entity.USER else context
                row |= _raw(name, feature, raw)
        length = self._features["history"].max_length  # type: ignore[attr-defined]
        row["history_item"] = [e["video_id"] for e in positives[-length:]]
        row["history_timestamp"] = [e["timestamp"] for e in positives[-length:]]
        return row

    @staticmethod
    def _counted(events: list[Row], count: Count, time: int) -> list[Row]:
        since = time - count.window_days * DAY_S if count.window_days else -math.inf
        return [
            e
            for e in events
            if (e["positive"] if count.event == "positive" else e["event"] == count.event)
            and e["timestamp"] >= since
        ]

    def summed(self, counted: list[Row], count: Count) -> int:
        """What the counted events add up to."""
        return sum(self._amount(row, count.measure) for row in counted)

    def _amount(self, row: Row, measure: Measure) -> int:
        if measure is Measure.EVENTS:
            return 1
        watched, duration = row.get("watch_sec"), self._duration(row)
        if watched is None or (duration is None and measure is not Measure.WATCH_MS):
            return 0
        seconds = {
            Measure.WATCH_MS: watched,
            Measure.VIEWED_MS: min(watched, duration or 0),
            Measure.DURATION_MS: duration,
        }[measure]
        return round(1000 * (seconds or 0))

    def item_events(self, video: str, day: int, count: Count) -> list[Row]:
        """Events that an item's count as of the start of a day counts."""
        earlier = [
            e for e in self.events if e["video_id"] == video and e["timestamp"] < day * DAY_S
        ]
        return self._counted(earlier, count, day * DAY_S)

    def train_rows(self) -> list[Row]:
        """The rows of train."""
        rows = []
        negatives = self._negatives()
        for label in self.of_split("train"):
            own, origin = label["row"], label["origin"]
            user, time = own["user_id"], origin["timestamp"]
            before = [e for e in self._of_user(user) if self._is_before(e, origin)]
            day = time // DAY_S
            used = [e["timestamp"] for e in before if e["positive"]]
            for name, feature in self._features.items():
                for count in sums_of(name, feature).values():
                    counted = (
                        self.item_events(own["video_id"], day, count)
                        if feature.entity is Entity.ITEM
                        else self._counted(before, count, time)
                    )
                    used += [e["timestamp"] for e in counted]
            minutes = own.get("watch_sec", 0) / 60
            logged = {
                name: origin.get(name, own.get(name, missing))
                for name, missing in (("position", -1), ("propensity", 0.0), ("session_id", ""))
            }
            rows.append(
                self._features_at(user, time, before, origin)
                | {
                    "item": own["video_id"],
                    "day": day,
                    "feature_time": max(used, default=0),
                    "label_time": own["timestamp"],
                    "label_event": own["event"],
                    "weight": float(np.float32(1 + self._data.watch_weight * math.log1p(minutes))),
                    "negative_item": negatives[id(label)],
                }
                | logged
            )
        return sorted(rows, key=as_key)

    def _negatives(self) -> dict[int, list[str]]:
        """By label, what the user had been shown and did not want."""
        found: dict[int, list[str]] = {id(label): [] for label in self.of_split("train")}
        for user in {e["user_id"] for e in self.events}:
            events = self._of_user(user)
            labels = [x for x in self.of_split("train") if x["row"]["user_id"] == user]
            if self._data.ties is Ties.STRICT:
                labels.sort(key=lambda label: label["origin"]["timestamp"])
            else:
                labels.sort(key=lambda label: events.index(label["origin"]))
            passes: list[tuple[set[str], int]] = [({"impression"}, self._data.label_window_sec)]
            if self._data.explicit_negatives:
                passes.insert(0, ({"dislike", "report"}, 0))
            for names, window in passes:
                for event in reversed(events):
                    later = [
                        label
                        for label in labels
                        if label["origin"]["timestamp"] > event["timestamp"] + window
                    ]
                    if event["event"] not in names or not later:
                        continue
                    video, as_of = event["video_id"], later[0]["origin"]["timestamp"]
                    wanted = any(
                        self._meets_rule(e)
                        and e["video_id"] == video
                        and (event["timestamp"] if not window else 0) <= e["timestamp"] < as_of
                        for e in events
                    )
                    given = found[id(later[0])]
                    if not (wanted or video == later[0]["row"]["video_id"] or video in given):
                        given.append(video)
        return {label: given[: self._data.negatives_per_row] for label, given in found.items()}

    def _query(self, user: str, time: int, before: list[Row], context: Row) -> Row:
        seen = [e for e in before if e["positive"] or self._data.seen is Seen.ANY_EVENT]
        positives = [e for e in before if e["positive"]]
        return self._features_at(user, time, before, context) | {
            "positive_item": [e["video_id"] for e in positives],
            "positive_timestamp": [e["timestamp"] for e in positives],
            "seen_item": list(dict.fromkeys(e["video_id"] for e in seen)),
        }

    def window_queries(self, split: str) -> list[Row]:
        """A query for each user with a label in the split."""
        since = self.validation_time if split == "validation" else self.test_time
        rows = []
        for user in {label["row"]["user_id"] for label in self.of_split(split)}:
            before = [e for e in self._of_user(user) if e["timestamp"] < since]
            relevant = [
                label["row"]["video_id"]
                for label in self.of_split(split)
                if label["row"]["user_id"] == user
            ]
            query = self._query(user, since, before, before[-1] if before else {})
            rows.append(query | {"relevant_item": list(dict.fromkeys(relevant))})
        return sorted(rows, key=as_key)

    def label_queries(self, split: str, *, order: str) -> list[Row]:
        """A query for each label; what is before it by `config`'s rule, `file` or `strict`."""
        rows = []
        for label in self.of_split(split):
            own, origin = label["row"], label["origin"]
            user, time = own["user_id"], origin["timestamp"]
            events = self._of_user(user)
            if order == "file":
                events = self._of_user(user, self._by_place)
                at = (origin["timestamp"], origin["place"])
                before = [e for e in events if (e["timestamp"], e["place"]) < at]
            elif order == "strict":
                before = [e for e in events if e["timestamp"] < time]
            else:
                before = [e for e in events if self._is_before(e, origin)]
            query = self._query(user, time, before, origin)
            rows.append(query | {"relevant_item": [own["video_id"]]})
        return sorted(rows, key=as_key)


def sums_of(name: str, feature: Feature) -> dict[str, Count]:
    """The sums that a feature is made of, by the column that holds each."""
    if isinstance(feature, LogZScore) and feature.count:
        return {name: feature.count}
    if isinstance(feature, Bounded) and feature.numerator and feature.denominator:
        return {f"{name}_numerator": feature.numerator, f"{name}_denominator": feature.denominator}
    return {}


def _raw(name: str, feature: Any, raw: Row) -> Row:
    column = columns_of(name, feature)[0]
    if column.length is not None:
        return {column.name: [float(x) for x in raw.get(column.name, [0.0] * column.length)]}
    if isinstance(feature, Bag):
        return {column.name: [v for v in raw.get(column.name, []) if v][: feature.max_length]}
    default = default_of(column)
    value = raw.get(column.name, default.decode() if isinstance(default, bytes) else default)
    return {column.name: type(default)(value) if not isinstance(default, bytes) else value}


def as_key(row: Row) -> str:
    """Something to sort rows by, whatever the order of their columns."""
    return repr(sorted(row.items()))
