"""The train rows by an element-wise Beam job: one dict an event, one Example a row.

It is what Beam's own guides lead to for the features of `setting.config`: rows are read as dicts,
grouped by user, turned into rows by plain Python over each user's sorted events, and written as
tf.train.Examples. Its rows are equal to the job's.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsDict

from configs.kinds import EVENTS, POSITIVE, Count, Distribution, Entity, LogZScore
from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY, Column, DType, default_of
from preprocessing.features import FeatureSpec, columns_of, spec_of
from preprocessing.job import RUNNER
from preprocessing.splits import parse_date

Row = dict[str, Any]
_MISSING = {"position": -1, "propensity": 0.0, "session_id": ""}


def run(config: Config, tables: Mapping[str, str], output: Path) -> None:
    """Writes the train rows to `output`."""
    spec = spec_of(config)
    validation_time = parse_date("validation_date", config.data.split.validation_date)
    with beam.Pipeline(options=PipelineOptions([], runner=RUNNER)) as root:
        videos = (
            root
            | "read videos" >> beam.io.ReadFromParquet(tables["videos"])
            | "by video" >> beam.Map(lambda row: (row["video_id"], row))
        )
        users = (
            root
            | "read users" >> beam.io.ReadFromParquet(tables["users"])
            | "by user" >> beam.Map(lambda row: (row["user_id"], row))
        )
        events = (
            root
            | "read events" >> beam.io.ReadFromParquet(f"{tables['events']}/*.parquet")
            | "events by user" >> beam.Map(lambda row: (row["user_id"], row))
        )
        labelled = (
            {"events": events, "users": users}
            | beam.CoGroupByKey()
            | beam.ParDo(RowsOfUser(spec, validation_time), AsDict(videos)).with_outputs(
                "first_seen", "newest", main="rows"
            )
        )
        train_count = (
            labelled.rows
            | "video of row" >> beam.Map(lambda row: row["video_id"])
            | beam.combiners.Count.PerElement()
        )
        first_seen = labelled.first_seen | "first event" >> beam.CombinePerKey(min)
        newest = labelled.newest | "newest of day" >> beam.CombinePerKey(max)
        item_of = (
            root
            | beam.Create([None])
            | "number items"
            >> beam.FlatMap(
                number_items,
                AsDict(videos),
                AsDict(train_count),
                AsDict(first_seen),
                validation_time,
            )
        )
        (
            labelled.rows
            | "example" >> beam.Map(to_example, spec, AsDict(item_of), AsDict(newest))
            | beam.Reshuffle()
            | beam.io.WriteToTFRecord(str(output / "rows"), num_shards=config.data.shards)
        )


class RowsOfUser(beam.DoFn):
    """One user's events to the user's train rows, videos by id."""

    def __init__(self, spec: FeatureSpec, validation_time: int):
        """Takes the rules."""
        self._spec = spec
        self._validation_time = validation_time

    def process(
        self, group: tuple[str, dict[str, Iterable[Row]]], videos: dict[str, Row]
    ) -> Iterator[Any]:
        """Yields rows, and tagged when videos were first seen and when what was counted."""
        user, parts = group
        events = _in_order(parts["events"])
        profile = next(iter(parts["users"]), {})
        rule = self._spec.data.positive
        history: list[Row] = []
        contacts: dict[str, list[Row]] = {}
        for event in events:
            video = event["video_id"]
            yield beam.pvalue.TaggedOutput("first_seen", (video, event["timestamp"]))
            contacts.setdefault(video, []).append(event)
        positive: set[str] = set()
        for event in events:
            day = event["timestamp"] // SECONDS_PER_DAY
            video = event["video_id"]
            if event["event"] == "impression":
                yield beam.pvalue.TaggedOutput(
                    "newest", (("impression", video, day), event["timestamp"])
                )
            length = event["video_duration"] or videos.get(video, {}).get("duration_sec")
            watched = (
                event["event"] == "watch"
                and event["watch_sec"] is not None
                and length is not None
                and event["watch_sec"] > rule.min_watch_fraction * length
            )
            if (event["event"] in rule.events or watched) and video not in positive:
                positive.add(video)
                history.append(event)
                yield beam.pvalue.TaggedOutput(
                    "newest", ((POSITIVE, video, day), event["timestamp"])
                )
        times = [event["timestamp"] for event in history]
        for label in history:
            row = self._row(label, contacts[label["video_id"]], history, times, videos)
            if row is not None:
                yield {**row, "user_id": user, "profile": profile}

    def _row(
        self,
        label: Row,
        contacts: list[Row],
        history: list[Row],
        times: list[int],
        videos: dict[str, Row],
    ) -> Row | None:
        time = label["timestamp"]
        until = min(time + self._spec.data.label_window_sec, self._validation_time - 1)
        cancelled = any(
            e["event"] in ("dislike", "report") and time <= e["timestamp"] <= until
            for e in contacts
        )
        if time >= self._validation_time or cancelled:
            return None
        shown = [e for e in contacts if e["event"] == "impression" and e["timestamp"] <= time]
        origin = shown[-1] if shown else label
        before = history[: bisect_left(times, origin["timestamp"])]
        _, sequence = self._spec.sequence
        row: Row = {
            "video_id": label["video_id"],
            "timestamp": origin["timestamp"],
            "label_time": time,
            "label_event": label["event"],
            "history": [(e["video_id"], e["timestamp"]) for e in before[-sequence.max_length :]],
            "positive_count": len(before),
            "newest": before[-1]["timestamp"] if before else 0,
            "context": origin,
        }
        for name, missing in _MISSING.items():
            values = (origin[name], label[name], missing)
            row[name] = next(value for value in values if value is not None)
        for name, feature in self._spec.features.items():
            if isinstance(feature, Distribution):
                counts = Counter(videos.get(e["video_id"], {}).get("category") for e in before)
                counts.pop(None, None)
                top = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
                row[f"{name}_key"] = [key for key, _ in top[: feature.max_keys]]
                row[f"{name}_count"] = [count for _, count in top[: feature.max_keys]]
        return row


def _in_order(events: Iterable[Row]) -> list[Row]:
    longest: dict[tuple[Any, ...], Row] = {}
    for event in events:
        key = (event["timestamp"], event["video_id"], EVENTS.index(event["event"]))
        if key not in longest or (event["watch_sec"] or 0) > (longest[key]["watch_sec"] or 0):
            longest[key] = event
    return [longest[key] for key in sorted(longest)]


def number_items(
    _: None,
    videos: dict[str, Row],
    train_count: dict[str, int],
    first_seen: dict[str, int],
    validation_time: int,
) -> Iterator[tuple[str, int]]:
    """Yields (video id, catalog id)."""

    def place(video: str) -> tuple[Any, ...]:
        upload, seen = videos[video]["upload_time"] or 0, first_seen.get(video, 0)
        known = 0 < upload < validation_time or 0 < seen < validation_time
        return -train_count.get(video, 0), not (known or (not upload and not seen)), video

    for number, video in enumerate(sorted(videos, key=place), 1):
        yield video, number


def to_example(
    row: Row,
    spec: FeatureSpec,
    item_of: dict[str, int],
    newest: dict[tuple[str, str, int], int],
) -> bytes:
    """A row as the ordinary Example."""
    day = row["timestamp"] // SECONDS_PER_DAY
    found = row["newest"]
    for _, feature in spec.of(Entity.ITEM):
        if isinstance(feature, LogZScore) and isinstance(feature.count, Count):
            # Every feature that counts without a window looks back to the log's first day.
            days = range(day - (feature.count.window_days or 60), day)
            found = max(
                found,
                *(newest.get((feature.count.event, row["video_id"], d), 0) for d in days),
            )
    values = {
        **row,
        "item": item_of[row["video_id"]],
        "day": day,
        "feature_time": found,
        "weight": 1.0,
        f"{spec.sequence[0]}_item": [item_of[video] for video, _ in row["history"]],
        f"{spec.sequence[0]}_timestamp": [time for _, time in row["history"]],
    }
    for name, feature in spec.of(Entity.USER, Entity.CONTEXT):
        if feature.column and feature.column != "user_id":
            column = columns_of(name, feature)[0]
            source = row["profile"] if feature.entity is Entity.USER else row["context"]
            value = source.get(column.name)
            values[column.name] = default_of(column) if value is None else value
    return example_of(values, spec.train_columns).SerializeToString()


def example_of(values: Mapping[str, Any], columns: Iterable[Column]) -> tf.train.Example:
    """One row as an Example, list columns as they are long."""
    example = tf.train.Example()
    features = example.features.feature
    for column in columns:
        value = values[column.name]
        of_row = value if column.is_ragged or column.length is not None else [value]
        feature = features[column.name]
        if column.dtype is DType.INT64:
            feature.int64_list.value.extend(of_row)
        elif column.dtype is DType.FLOAT:
            feature.float_list.value.extend(of_row)
        else:
            feature.bytes_list.value.extend(
                each.encode() if isinstance(each, str) else each for each in of_row
            )
    return example
