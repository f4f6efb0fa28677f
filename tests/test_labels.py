"""The label rules, each on a log of a few events."""

from typing import Any

import polars as pl
import pytest

from configs.schema import Data, PositiveRule, Split, SplitBy, Ties
from preprocessing.events import deduplicate, in_order
from preprocessing.labels import CODE_OF, ORIGIN, STATUS, Status, label
from preprocessing.manifest import Splits
from preprocessing.splits import cut_days, find_splits
from tests.raw_logs import DAY_S, Row

T = 1_700_000_000
LATE = Splits(start_time=T, validation_time=T + 900, test_time=T + 950, end_time=T + 1000)
DURATIONS = pl.DataFrame({"video_id": ["v"], "duration_sec": [10.0]})

SCHEMA = {
    "event": pl.UInt8,
    "user_id": pl.String,
    "video_id": pl.String,
    "timestamp": pl.Int64,
    "watch_sec": pl.Float64,
    "video_duration": pl.Float64,
    "file": pl.Int32,
    "line": pl.Int64,
}


def event(name: str, time: int, *, user: str = "u", video: str = "v", **more: Any) -> Row:
    row = {"event": CODE_OF[name], "user_id": user, "video_id": video, "timestamp": T + time}
    return row | more


def frame(*events: Row) -> pl.DataFrame:
    rows = [{"file": 0, "line": line} | row for line, row in enumerate(events, 1)]
    return pl.DataFrame(rows, schema=SCHEMA)


def labelled(*events: Row, splits: Splits = LATE, **rules: Any) -> list[Row]:
    data = Data(**rules)
    ordered = in_order(frame(*events), data.ties)
    return label(ordered, DURATIONS, data=data, splits=splits).to_dicts()


def statuses(*events: Row, **rules: Any) -> list[Status]:
    return [Status(row[STATUS]) for row in labelled(*events, **rules)]


NOT, REPEAT, CANCELLED, TRAIN = (
    Status.NOT_POSITIVE,
    Status.REPEAT,
    Status.CANCELLED,
    Status.TRAIN,
)


@pytest.mark.parametrize(
    ("rule", "watch", "status"),
    [
        (PositiveRule(), {"watch_sec": 5.0}, NOT),  # half of the catalog's 10 s is not more
        (PositiveRule(), {"watch_sec": 5.1}, TRAIN),
        (PositiveRule(), {"watch_sec": 5.1, "video_duration": 20.0}, NOT),
        (PositiveRule(), {"watch_sec": 5.1, "video": "no duration"}, NOT),
        (PositiveRule(), {}, NOT),
        (PositiveRule(min_watch_fraction=1.0), {"watch_sec": 99.0}, NOT),
        (PositiveRule(min_watch_sec=5), {"watch_sec": 5.0, "video": "no duration"}, TRAIN),
        (PositiveRule(min_watch_sec=6), {"watch_sec": 5.0}, NOT),
    ],
)
def test_a_watch_is_positive_by_share_or_seconds(
    rule: PositiveRule, watch: Row, status: Status
) -> None:
    assert statuses(event("watch", 0, **watch), positive=rule) == [status]


def test_events_are_positive_by_name() -> None:
    rule = PositiveRule(events=("click",))
    assert statuses(event("like", 0), event("click", 1), positive=rule) == [NOT, TRAIN]
    assert statuses(event("like", 0), event("click", 1)) == [TRAIN, NOT]


def test_the_first_positive_of_a_pair_counts() -> None:
    events = (
        event("like", 0),
        event("share", 50),
        event("like", 50, video="w"),
        event("like", 50, user="w"),
        event("like", 500),
    )
    by_user = [TRAIN, REPEAT, TRAIN, REPEAT, TRAIN]
    assert statuses(*events, label_window_sec=100) == by_user
    # The gap is to the positive event before it, not to the last one that was kept.
    again = [TRAIN, REPEAT, TRAIN, TRAIN, TRAIN]
    assert statuses(*events, label_window_sec=100, repeats=True) == again
    close = [event("like", time) for time in (0, 100, 200, 301)]
    kept = [TRAIN, REPEAT, REPEAT, TRAIN]
    assert statuses(*close, label_window_sec=100, repeats=True) == kept


@pytest.mark.parametrize("name", ["dislike", "report"])
@pytest.mark.parametrize(
    ("delay", "status"), [(-1, TRAIN), (0, CANCELLED), (100, CANCELLED), (101, TRAIN)]
)
def test_a_dislike_cancels_within_the_window(name: str, delay: int, status: Status) -> None:
    found = labelled(event("like", 10), event(name, 10 + delay), label_window_sec=100)
    assert [row[STATUS] for row in found if row["event"] == CODE_OF["like"]] == [status]
    other = labelled(event("like", 10), event(name, 11, video="w"), event(name, 11, user="w"))
    assert [row[STATUS] for row in other if row["event"] == CODE_OF["like"]] == [TRAIN]


def test_what_comes_after_train_cancels_nothing_in_train() -> None:
    assert statuses(event("like", 890), event("dislike", 899)) == [CANCELLED, NOT]
    assert statuses(event("like", 890), event("dislike", 900)) == [TRAIN, NOT]
    assert statuses(event("like", 900), event("dislike", 960)) == [CANCELLED, NOT]


def test_splits_follow_the_time_that_features_are_as_of() -> None:
    def status(shown: int, liked: int) -> Status:
        return statuses(event("impression", shown), event("like", liked))[-1]

    assert status(800, 899) is Status.TRAIN
    assert status(900, 901) is Status.VALIDATION
    assert status(949, 949) is Status.VALIDATION
    assert status(950, 951) is Status.TEST
    # A positive after the cut must not make a train row, whatever it answers.
    assert status(899, 900) is Status.CROSSES_CUT
    assert status(901, 950) is Status.CROSSES_CUT


def test_a_label_is_as_of_the_newest_impression_before_it() -> None:
    found = labelled(
        event("impression", 0),
        event("impression", 5),
        event("impression", 5, video="w"),
        event("like", 7),
        event("impression", 8),
        event("like", 9, video="x"),
    )
    origin = {(row["video_id"], row["event"]): row[ORIGIN] for row in found}
    assert origin["v", CODE_OF["like"]] == 1
    assert found[origin["x", CODE_OF["like"]]]["video_id"] == "x"
    assert origin["w", CODE_OF["impression"]] == -1


def test_at_one_second_the_file_says_what_was_first() -> None:
    events = (event("like", 5), event("impression", 5))
    strict = labelled(*events)
    assert [row[ORIGIN] for row in strict] == [-1, 0]  # the impression counts as before
    in_file = labelled(*events, ties=Ties.FILE_ORDER)
    assert [row[ORIGIN] for row in in_file] == [0, -1]  # the like stands for itself


def test_leave_one_out_takes_each_users_last_labels() -> None:
    events = [event("like", time, video=f"v{time}") for time in range(4)]
    events += [event("like", 0, user="two"), event("like", 1, user="two", video="w")]
    events += [event("dislike", 3, video="v3")]
    found = labelled(*events, split=Split(by=SplitBy.LOO))
    status = {(row["user_id"], row["video_id"], row["event"]): row[STATUS] for row in found}
    like = CODE_OF["like"]
    assert [status["u", f"v{i}", like] for i in range(4)] == [
        TRAIN,
        Status.VALIDATION,
        Status.TEST,
        CANCELLED,
    ]
    assert status["two", "v", like] == status["two", "w", like] == TRAIN


def test_one_of_equal_events_is_kept_whatever_the_order() -> None:
    twice = [
        event("watch", 0, watch_sec=3.0, video_duration=8.0),
        event("watch", 0, watch_sec=7.0, video_duration=9.0),
        event("watch", 0, watch_sec=7.0, video_duration=6.0),
        event("watch", 0),
        event("watch", 1),
        event("like", 0),
    ]
    for rows in (twice, twice[::-1]):
        kept, dropped = deduplicate(frame(*rows), Ties.STRICT)
        assert len(kept) == 3 and len(dropped) == 3
        watch = kept.filter(event=CODE_OF["watch"]).to_dicts()[0]
        assert (watch["watch_sec"], watch["video_duration"]) == (7.0, 6.0)
    kept, _ = deduplicate(frame(*twice), Ties.FILE_ORDER)
    assert kept.filter(event=CODE_OF["watch"])["video_duration"][0] == 9.0  # first in the file


@pytest.mark.parametrize(
    ("times", "fractions", "cuts"),
    [
        (range(10), (0.8, 0.9), (8, 9)),
        (range(10), (0.81, 0.9), (9, 9)),
        ([0] * 8 + [DAY_S, 2 * DAY_S], (0.8, 0.9), (1, DAY_S + 1)),
        ([0] * 9 + [DAY_S], (0.8, 0.9), (1, 1)),
        ([5, DAY_S * 3, DAY_S * 3 + 1], (0.3, 0.9), (6, DAY_S * 3 + 2)),
    ],
)
def test_a_fraction_is_cut_at_the_exact_second(
    times: list[int], fractions: tuple[float, float], cuts: tuple[int, int]
) -> None:
    split = Split(validation_fraction=fractions[0], test_fraction=fractions[1])
    seconds = {t: list(times).count(t) for t in times}
    days: dict[int, int] = {}
    for t, count in seconds.items():
        days[t // DAY_S] = days.get(t // DAY_S, 0) + count
    wanted = {t: n for t, n in seconds.items() if t // DAY_S in cut_days(split, days)}
    found = find_splits(split, days=days, seconds=wanted, start_time=0, end_time=max(times) + 1)
    assert (found.validation_time, found.test_time) == cuts
