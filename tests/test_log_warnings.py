"""What a job warns of where each row keeps the contract and the log is wrong all the same."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from configs.kinds import Count, Freshness, LogZScore
from configs.schema import PositiveRule
from preprocessing.features import spec_of
from preprocessing.job import preprocess
from preprocessing.log_warnings import events_never_logged, unknown_ids
from tests.raw_logs import START, config_of, features, raw_log, small_data

LOG = raw_log(1, events=60)


@pytest.mark.parametrize(("unknown", "warned"), [(0, False), (5, False), (6, True), (10, True)])
def test_a_table_that_most_events_name_no_row_of(unknown: int, warned: bool) -> None:
    total = {"valid": 10}
    for table, column in (("videos", "video_id"), ("users", "user_id")):
        counters = {"total": total, "unknown_video": 0, "unknown_user": 0}
        counters[f"unknown_{column.removesuffix('_id')}"] = unknown
        found = unknown_ids(counters)
        assert len(found) == warned
        if warned:
            assert found[0].startswith(
                f"--{table}: found {unknown} of 10 events whose {column} is in no row of it"
            )


def test_features_that_count_what_nobody_logs() -> None:
    spec = spec_of(config_of(small_data()))
    logged = {"watch": 3, "impression": 1, "skip": 1, "like": 1, "click": 1}
    assert events_never_logged(spec, logged) == []
    (found,) = events_never_logged(spec, logged | {"skip": 0, "like": 0})
    assert found.startswith("--events: found no skip (skips_2d), no like (like_ratio")


def test_the_job_says_both(tmp_path: Path) -> None:
    """Ids of videos are written in another way than in their table, and nobody clicks."""
    rows = [
        {"event": "like", "user_id": f"u{n % 5}", "video_id": f"id-{n % 7}", "timestamp": START + n}
        for n in range(100)
    ]
    kept = {name: each for name, each in features().items() if name in ("item_id", "history")}
    clicks = LogZScore(count=Count(event="click"), freshness=Freshness.EVENT)
    shown = Console(file=io.StringIO(), width=1_000)
    found = preprocess(
        config_of(
            small_data(positive=PositiveRule(events=("like",)), repeats=True, label_window_sec=0),
            **kept,
            clicks=clicks,
        ),
        tables=LOG._replace(events=rows).write(tmp_path / "raw"),
        output=tmp_path / "out",
        display=shown,
    )
    videos, clicked = found["warnings"]
    assert videos.startswith("--videos: found 100 of 100 events whose video_id is in no row of it")
    assert clicked.startswith("--events: found no click (clicks); expected some, or the features")
    lines = shown.file.getvalue().splitlines()
    assert f"warning: {videos}" in lines and f"warning: {clicked}" in lines
    assert any("unknown video" in line and "100" in line for line in lines)
