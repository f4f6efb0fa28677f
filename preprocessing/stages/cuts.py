"""Where the log is cut: its days first, then the seconds of the days with a cut."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput

from preprocessing import tally
from preprocessing.columns import SECONDS_PER_DAY, TIMESTAMP
from preprocessing.events import FILE
from preprocessing.features import FeatureSpec
from preprocessing.frames import Packed, pack, unpack
from preprocessing.manifest import Splits
from preprocessing.splits import Histogram, cut_days, find_splits

Days = tuple[Histogram, int, int]
"""Events by day, and the seconds of the first and the last event."""


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
