"""Events to positives, labels and their splits."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput

from configs.errors import UserError
from configs.kinds import EVENTS
from preprocessing import tally
from preprocessing.catalog import (
    item_facts,
)
from preprocessing.contract import EVENT, VIDEO_ID
from preprocessing.events import FILE
from preprocessing.features import FeatureSpec
from preprocessing.frames import Packed, pack, unpack
from preprocessing.item_statistics import (
    daily_sums,
    item_counts,
)
from preprocessing.labels import SPLITS, STATUS, Status, label
from preprocessing.manifest import Splits
from preprocessing.progress import count
from preprocessing.rows import label_hashes


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
        named = {EVENTS[code]: n for code, n in events.group_by(EVENT).len().rows()}
        yield TaggedOutput("tally", {"event": named})
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
