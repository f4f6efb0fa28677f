"""Exact in time, over random logs: only events decide a row, and none that came later."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from configs.schema import Config, Split, SplitBy
from preprocessing.sethash import SetHash, differing, set_hashes
from tests.decoded import Decoded, run
from tests.raw_logs import (
    DAY_S,
    START,
    Row,
    config_of,
    raw_log,
    small_data,
    write_lines,
    write_tables,
)

WINDOW_S = 40
FEW, MANY = 3, 60
"""Examples of `make test`, and of `make test-slow`; each is a few whole jobs."""


def examples(count: int) -> Any:
    # A smaller log is no easier to read, and looking for one takes a job at each step.
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def outcome(config: Config, tables: dict[str, str], output: Path, *beam: str) -> Any:
    """The set-hash of what a job writes, or why it refuses."""
    try:
        return set_hashes(run(config, tables, output, *beam).root)
    except UserError as error:
        return str(error)


LOGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "users": st.integers(1, 12),
        "videos": st.integers(2, 18),
        "events": st.integers(30, 260),
    }
)
LAYOUTS = st.fixed_dictionaries(
    {
        "partitions": st.integers(1, 9),
        "shards": st.integers(1, 4),
        "rows_per_record": st.sampled_from((1, 3, 64)),
    }
)


def check_that_order_and_copies_do_not_matter(
    log: dict[str, int], layout: dict[str, int], workers: int, doubled: bool, repeats: bool
) -> None:
    seed = log["seed"]
    events, videos, users = raw_log(**log)
    with folder() as root:
        plain = config_of(small_data(repeats=repeats))
        expected = outcome(plain, write_tables(root / "1", events, videos, users), root / "a")

        for rows in (events, videos, users):
            random.Random(seed).shuffle(rows)
        tables = write_tables(root / "2", events, videos, users)
        if doubled:
            more = [*events]
            random.Random(seed + 1).shuffle(more)
            write_lines(root / "2" / "events" / "again.jsonl.gz", more)
            tables["videos"] = str(write_lines(root / "2" / "v.jsonl", videos * 2))
            tables["users"] = str(write_lines(root / "2" / "u.jsonl", users + users[::-1]))
        beam = (
            ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
            if workers > 1
            else []
        )
        other = config_of(small_data(repeats=repeats, **layout))
        found = outcome(other, tables, root / "b", *beam)

        if isinstance(expected, str) or isinstance(found, str):
            assert found == expected  # refused for the same reason
        else:
            assert differing(found, expected) == []
            assert isinstance(expected["train"], SetHash) and expected["train"].rows > 0


ORDER = {
    "log": LOGS,
    "layout": LAYOUTS,
    "workers": st.integers(1, 3),
    "doubled": st.booleans(),
    "repeats": st.booleans(),
}


@examples(FEW)
@given(**ORDER)
@example(  # more workers than groups of users
    log={"events": 83, "seed": 88, "videos": 18, "users": 4},
    layout={"partitions": 2, "shards": 4, "rows_per_record": 1},
    workers=3,
    doubled=False,
    repeats=False,
)
def test_order_copies_shards_and_workers_change_nothing(**drawn: Any) -> None:
    check_that_order_and_copies_do_not_matter(**drawn)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@examples(MANY)
@given(**ORDER)
def test_order_copies_shards_and_workers_change_nothing_in_many_logs(**drawn: Any) -> None:
    check_that_order_and_copies_do_not_matter(**drawn)


def by_date() -> Config:
    split = Split(by=SplitBy.DATE, validation_date="2023-11-19", test_date="2023-11-20")
    return config_of(small_data(split=split, label_window_sec=WINDOW_S))


def known_before(dataset: Decoded, time: int) -> dict[str, list[Row]]:
    """The rows whose label window ends before a time, and what was known of items by then."""
    names = ["", *(row["video_id"] for row in dataset.catalog)]
    users = [row["user_id"] for row in dataset.table("users")]
    label_time = {
        (users[row["user"]], names[row["item"]]): row["timestamp"]
        for row in dataset.table("positives")
    }
    statistics = [
        row | {"item": names[row["item"]]}
        for row in dataset.table("item_statistics")
        if row["day"] * DAY_S <= time
    ]
    queries = {
        part: [
            query
            for query in dataset.rows(part)
            if label_time[query["user_id"], query["relevant_item"][0]] + WINDOW_S < time
        ]
        for part in ("queries/validation/next", "queries/test/next")
    }
    return {
        "train": [r for r in dataset.rows("train") if r["label_time"] + WINDOW_S < time],
        "item_statistics": sorted(statistics, key=lambda row: (row["item"], row["day"])),
        **queries,
    }


def check_that_later_events_change_nothing(
    log: dict[str, int], day: int, second: int, later: int
) -> None:
    seed, time = log["seed"], START + day * DAY_S + second
    events, videos, users = raw_log(**log)
    draw = random.Random(seed + 9)
    before = [e for e in events if e["timestamp"] < time]
    # Cancellations, first positives, impressions: of old pairs and new ones, from that second on.
    after = [
        {
            "event": draw.choice(("dislike", "report", "like", "share", "impression", "skip")),
            "user_id": f"u{draw.randrange(log['users'] + 1)}",
            "video_id": f"v{draw.randrange(log['videos'] + 2)}",
            "timestamp": time + draw.choice((0, 0, 1, WINDOW_S, DAY_S, 3 * DAY_S)),
        }
        for _ in range(later)
    ]
    with folder() as root:
        try:
            first = run(by_date(), write_tables(root / "1", before, videos, users), root / "a")
        except UserError:
            return  # nothing is positive before the cut
        both = before + after
        second_run = run(by_date(), write_tables(root / "2", both, videos, users), root / "b")
        expected, found = known_before(first, time), known_before(second_run, time)
        assert found == expected
        if first.manifest.splits.validation_time <= time:
            for part in ("vocabularies", "statistics"):
                texts = [
                    (d.root / d.manifest.part(part)[0].name).read_text()
                    for d in (first, second_run)
                ]
                assert texts[0] == texts[1]
        assert second_run.manifest.counters["total"]["read"] == len(both)


LATER = {
    "log": LOGS,
    "day": st.integers(2, 5),
    "second": st.sampled_from((0, 1, 7, 20, 50_010)),
    "later": st.integers(1, 150),
}


@examples(FEW)
@given(**LATER)
@example(  # videos without an upload time, whose first event is a later one
    log={"events": 195, "seed": 113_314, "videos": 10, "users": 8}, day=4, second=50_010, later=150
)
def test_later_events_change_no_earlier_row(**drawn: Any) -> None:
    check_that_later_events_change_nothing(**drawn)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@examples(MANY)
@given(**LATER)
def test_later_events_change_no_earlier_row_of_many_logs(**drawn: Any) -> None:
    check_that_later_events_change_nothing(**drawn)


@pytest.fixture(scope="module")
def ties(tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    """A log in which most seconds hold events of several items of one user."""
    root = tmp_path_factory.mktemp("ties")
    log = raw_log(11, users=3, videos=18, events=700)
    seconds = {(e["user_id"], e["timestamp"]) for e in log.events}
    assert len(seconds) < len(log.events) / 2
    return run(config_of(small_data(repeats=True)), log.write(root), root / "dataset")


def test_no_row_knows_its_own_second_or_a_later_one(ties: Decoded) -> None:
    rows = ties.rows("train")
    assert len(rows) > 30
    queries = [
        query
        for split in ("validation", "test")
        for protocol in ("window", "next")
        for query in ties.rows(f"queries/{split}/{protocol}")
    ]
    assert len(queries) > 10
    of_second = {(r["user_id"], r["timestamp"]) for r in rows}
    assert len(of_second) < len(rows)  # some labels tie
    for row in rows:
        assert row["feature_time"] < row["timestamp"] <= row["label_time"]
        assert max(row["history_timestamp"], default=0) <= row["feature_time"]
    for row in rows + queries:
        assert all(time < row["timestamp"] for time in row["history_timestamp"])
    for query in queries:
        assert all(time < query["timestamp"] for time in query["positive_timestamp"])
