"""What may be wrong with a log, or what is asked of it, although its rows keep the contract."""

from collections.abc import Mapping
from typing import Any

from configs.kinds import POSITIVE, Entity
from configs.schema import SplitBy
from preprocessing.columns import USER_ID
from preprocessing.contract import VIDEO_ID
from preprocessing.features import FeatureSpec, counts_of

_MOST_UNKNOWN = 0.5
"""Above this share of events that name no row of a table, the table is likely another log's, or its
ids are written in another way. Many rightly name none: guests, videos that were deleted."""


def unknown_ids(counters: Mapping[str, Any]) -> list[str]:
    """One line for each table that most valid events name no row of.

    Args:
        counters: of a manifest.
    """
    events = counters["total"]["valid"]
    return [
        f"--{table}: found {unknown:,} of {events:,} events whose {column} is in no row of it, "
        f"expected at most half: are the ids of both tables written alike?"
        for table, column, unknown in (
            ("videos", VIDEO_ID, counters["unknown_video"]),
            ("users", USER_ID, counters["unknown_user"]),
        )
        if unknown > _MOST_UNKNOWN * events
    ]


def events_never_logged(spec: FeatureSpec, logged: Mapping[str, int]) -> list[str]:
    """A line if features count events of a name that no event has: they say nothing.

    Args:
        spec: the features.
        logged: valid events by name; a name without any may be left out.
    """
    features: dict[str, list[str]] = {}
    for name, feature in spec.features.items():
        events = {count.event for count in counts_of(name, feature).values()}
        for event in sorted(events - {POSITIVE}):
            if not logged.get(event):
                features.setdefault(event, []).append(name)
    if not features:
        return []
    found = ", no ".join(f"{event} ({', '.join(names)})" for event, names in features.items())
    return [
        f"--events: found no {found}; expected some, or the features in brackets, which count "
        "them, left out of the config"
    ]


def counted_answers(spec: FeatureSpec, by: SplitBy) -> list[str]:
    """A line if a leave-one-out dataset has counts of items.

    Queries are of any day and items are embedded as of one, the day that the log ends: by then each
    item's counts hold the very labels that are asked for.

    Args:
        spec: the features.
        by: what splits the log.
    """
    counts = list(spec.counts(Entity.ITEM))
    if by is not SplitBy.LOO or not counts:
        return []
    return [
        f"config.features: found counts of items ({', '.join(counts)}) with data.split.by=loo, "
        "expected none: by the end of the log they count the labels that evaluation asks for, so "
        "its metrics may flatter the model"
    ]
