import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from configs.errors import UserError
from configs.schema import Split
from configs.simulation import LogFormat
from preprocessing.simulate import simulate
from preprocessing.simulation import short_video, topics
from preprocessing.simulation.cuts import find_cuts
from preprocessing.simulation.log import Log
from preprocessing.simulation.policy import LoggingPolicy, show
from preprocessing.simulation.short_video import ShortVideoLogs
from tests.commands import result_of, run_command
from tests.quiet import QUIET
from tests.tiny_platform import run, small

DAY_S = 86_400


@pytest.fixture(scope="module")
def logs() -> ShortVideoLogs:
    return run(small())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    output = tmp_path_factory.mktemp("simulate") / "logs"
    simulate(small(events_per_shard=9_999), output=str(output), display=QUIET)
    assert len(list((output / "events").iterdir())) > 2
    return read(output)


def read(output: Path) -> dict[str, pl.DataFrame]:
    paths = {"events": "events/*"} | {name: name + ".*" for name in ("videos", "users", "truth")}
    return {
        name: pl.concat(
            pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_ndjson(file)
            for file in sorted(output.glob(pattern))
        )
        for name, pattern in paths.items()
    }


def test_tables_hold_the_columns_of_the_contract(tables: dict[str, pl.DataFrame]) -> None:
    assert tables["events"].schema == {
        "event": pl.String,
        "user_id": pl.String,
        "video_id": pl.String,
        "timestamp": pl.Int64,
        "watch_sec": pl.Float64,
        "video_duration": pl.Float64,
        "position": pl.Int32,
        "device": pl.String,
        "network": pl.String,
        "propensity": pl.Float64,
        "session_id": pl.String,
    }
    assert tables["videos"].schema == {
        "video_id": pl.String,
        "creator_id": pl.String,
        "title": pl.String,
        "category": pl.String,
        "tags": pl.List(pl.String),
        "language": pl.String,
        "duration_sec": pl.Float64,
        "upload_time": pl.Int64,
    }
    assert list(tables["users"].schema) == [
        "user_id",
        "signup_date",
        "country",
        "language",
        "age",
        "gender",
        "subscription",
    ]
    assert list(tables["truth"].schema) == ["user_id", "rank", "video_id", "expected"]
    assert tables["videos"].height == tables["videos"]["video_id"].n_unique() == 1_500
    assert tables["users"].height == tables["users"]["user_id"].n_unique() == 300


def test_events_keep_the_rules_of_the_platform(tables: dict[str, pl.DataFrame]) -> None:
    events = tables["events"]
    assert events["timestamp"].is_sorted()
    joined = events.join(tables["videos"], on="video_id").join(
        tables["users"], on="user_id", suffix="_user"
    )
    assert joined.height == events.height
    assert (joined["timestamp"] > joined["upload_time"]).all()
    assert (joined["timestamp"] >= joined["signup_date"]).all()
    assert (joined["video_duration"] == joined["duration_sec"]).all()

    # Each pair is shown once, and each response comes once, after its impression.
    assert not events.select("event", "user_id", "video_id").is_duplicated().any()
    impressions = events.filter(pl.col("event") == "impression")
    both = events.join(impressions, on=["user_id", "video_id"], suffix="_shown")
    assert both.height == events.height
    assert (both["timestamp"] >= both["timestamp_shown"]).all()
    for column in ("session_id", "position", "propensity", "device", "network"):
        assert (both[column] == both[column + "_shown"]).all()

    is_watch = events["event"] == "watch"
    assert (events["watch_sec"].is_not_null() == is_watch).all()
    watches = events.filter(is_watch)
    assert watches["watch_sec"].min() >= 0
    assert (watches["watch_sec"] <= watches["video_duration"] + 1e-3).all()


def test_sessions_do_not_overlap_and_positions_count_up(tables: dict[str, pl.DataFrame]) -> None:
    impressions = tables["events"].filter(pl.col("event") == "impression")
    sessions = impressions.group_by("session_id").agg(
        pl.col("user_id").n_unique().alias("users"),
        pl.col("position").sort().alias("positions"),
        (pl.col("position").sort_by("timestamp", "position") == pl.int_range(pl.len()))
        .all()
        .alias("in_order"),
        pl.col("user_id").first().alias("user_id"),
        pl.col("timestamp").min().alias("start"),
        pl.col("timestamp").max().alias("end"),
    )
    assert (sessions["users"] == 1).all()
    assert sessions["in_order"].all()
    assert sessions["positions"].list.len().max() > 8
    sessions = sessions.sort("user_id", "start").with_columns(
        pl.col("end").shift(1).over("user_id").alias("last_end")
    )
    assert (sessions["start"] > sessions["last_end"]).drop_nulls().all()


def test_titles_tell_the_topic(tables: dict[str, pl.DataFrame]) -> None:
    words = {
        category: set(" ".join(subtopics.values()).split())
        for category, subtopics in topics.TOPICS.items()
    }
    own, other = 0, 0
    for title, category in tables["videos"].select("title", "category").iter_rows():
        own += len(set(title.split()) & words[category])
        other += len(set(title.split()) & words["cooking" if category != "cooking" else "art"])
    assert own > 2.9 * tables["videos"].height
    assert other < 0.01 * own


def test_popularity_is_skewed(logs: ShortVideoLogs) -> None:
    shown = np.sort(np.bincount(logs.log.video, minlength=1_500))[::-1]
    liked = np.bincount(logs.log.video[logs.log.positive], minlength=1_500)
    assert shown[:75].sum() > 3 * 0.05 * shown.sum()
    # By the platform's own popularity, not by chance.
    popular = np.argsort(-logs.platform.catalog.log_popularity)[:75]
    assert liked[popular].sum() > 2 * 0.05 * liked.sum()


def equal(first: Log, second: Log) -> bool:
    return all(
        getattr(first, field.name).tobytes() == getattr(second, field.name).tobytes()
        for field in dataclasses.fields(Log)
    )


def test_a_seed_fixes_every_byte_whatever_the_threads(
    logs: ShortVideoLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    again = run(small())
    assert equal(logs.log, again.log)
    np.testing.assert_array_equal(logs.truth.video, again.truth.video)
    assert not equal(logs.log, run(small(seed=1)).log)


def test_first_draws_follow_the_mixture_and_later_ones_the_rest(logs: ShortVideoLogs) -> None:
    copies, config = 4_000, logs.platform.config
    day = LoggingPolicy(config, logs.platform.catalog).day(5)
    mixture = day.mixture(logs.platform.population, np.full(copies, 7))
    rng = np.random.default_rng(0)
    everyone = np.arange(copies)
    before = np.zeros((copies, config.videos), dtype=np.bool_)
    old = np.argsort(-mixture.all_probabilities()[0])[:3]
    before[:, old] = True
    mass = np.full(copies, mixture.probability(np.zeros(3, dtype=np.int64), old).sum())
    result = show(
        mixture,
        slots=np.full(copies, 4),
        shown=before,
        shown_mass=mass,
        rng=rng,
    )
    video = result.video.reshape(copies, 4)
    propensity = result.propensity.reshape(copies, 4)
    assert np.all((0 < propensity) & (propensity <= 1))
    assert not np.isin(video, old).any()

    expected = mixture.all_probabilities()[0].astype(np.float64)
    expected[old] = 0
    expected /= expected.sum()
    first = np.bincount(video[:, 0], minlength=day.available) / copies
    np.testing.assert_allclose(propensity[:, 0], expected[video[:, 0]], rtol=1e-4)
    assert np.all(np.abs(first - expected) < 5 * np.sqrt(expected / copies) + 2 / copies)
    # Given what was shown first, the second slot's chances are the rest's, renormalised.
    rest = expected[video[everyone, 1]] / (1 - expected[video[everyone, 0]])
    np.testing.assert_allclose(propensity[:, 1], rest, rtol=1e-4)


def test_logged_propensities_count_the_slots_that_could_have_shown_a_video(
    logs: ShortVideoLogs,
) -> None:
    log, catalog, config = logs.log, logs.platform.catalog, logs.platform.config
    slot_of_user = np.arange(len(log.user)) - np.searchsorted(log.user, log.user)
    slots = np.bincount(log.user, minlength=config.users)
    old = np.flatnonzero(catalog.upload_time < config.start)
    popular = old[np.argsort(-catalog.log_popularity[old])[:40]]
    weight, could = 0.0, 0
    for video in popular:
        mine = log.video == video
        weight += (1 / log.propensity[mine].astype(np.float64)).sum()
        could += slots.sum() - (slots[log.user[mine]] - slot_of_user[mine] - 1).sum()
    assert weight == pytest.approx(could, rel=0.05)
    assert log.propensity.min() > 0
    assert log.propensity.max() <= 1


def test_truth_lists_only_what_may_still_be_shown(tables: dict[str, pl.DataFrame]) -> None:
    cut = find_cuts(Split(), tables["events"]["timestamp"].to_numpy()).test_time
    truth = tables["truth"]
    seen = tables["events"].filter(pl.col("timestamp") < cut)
    assert truth.join(seen, on=["user_id", "video_id"], how="semi").is_empty()
    assert (truth.join(tables["videos"], on="video_id")["upload_time"] < cut).all()
    assert not truth.select("user_id", "video_id").is_duplicated().any()
    assert ((0 < truth["expected"]) & (truth["expected"] < 1)).all()
    by_rank = truth.group_by("user_id", maintain_order=True).agg("rank", "expected")
    for rank, expected in zip(by_rank["rank"], by_rank["expected"], strict=True):
        assert rank.to_list() == list(range(1, 101))
        assert expected.is_sorted(descending=True)
    later = tables["events"].filter(
        (pl.col("timestamp") >= cut)
        & (
            (pl.col("watch_sec") > 0.5 * pl.col("video_duration"))
            | pl.col("event").is_in(["like", "share"])
        )
    )
    assert set(truth["user_id"]) <= set(later["user_id"])


def test_json_lines_say_the_same_as_parquet(tmp_path: Path) -> None:
    config = small(users=40, days=7)
    simulate(config, output=str(tmp_path / "parquet"), display=QUIET)
    lines = dataclasses.replace(config, format=LogFormat.JSON_LINES)
    simulate(lines, output=str(tmp_path / "lines"), display=QUIET)
    expected, found = read(tmp_path / "parquet"), read(tmp_path / "lines")
    for name, table in expected.items():
        assert found[name].cast(dict(table.schema)).select(table.columns).equals(table)
    saved = json.loads((tmp_path / "lines" / "simulation.json").read_text())
    assert saved["parameters"]["format"] == "jsonl"
    assert saved["events"] == expected["events"].height
    assert 0 < saved["oracle_recall_at_100"] <= 1


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> pa.Table:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(short_video, "_users", fail)
    with pytest.raises(UserError, match="--output: cannot write .*No space left on device"):
        simulate(small(users=20, days=3), output=str(tmp_path / "logs"), display=QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": 0}, "users: found 0, expected a number of at least 1"),
        ({"videos": 1}, "videos: found 1, expected at least 2"),
        ({"start": 5}, "start: found 5, expected the UTC second at which a day begins"),
        ({"popularity_probability": -0.1}, "popularity_probability: found -0.1"),
        ({"popularity_probability": 0.99}, "exploration_probability: found 0.05"),
        ({"interests_max": 1}, "interests_max: found 1, expected at least interests_min"),
        ({"creator_share": 0.9}, "creator_share: found 0.9"),
        ({"sharpness": 31.0}, "sharpness: found 31.0"),
        ({"click_bias": float("nan")}, "click_bias: found nan"),
        ({"completion_sigma": 0.0}, "completion_sigma: found 0.0, expected a number above 0"),
        ({"sessions_per_day": 1e-9}, "sessions_per_day: found 1e-09, expected enough"),
    ],
)
def test_a_wrong_parameter_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        simulate(small(**changes), output=str(tmp_path / "logs"), display=QUIET)
    assert str(caught.value).startswith("config.simulation." + message)
    assert not list(tmp_path.iterdir())


def test_command_ends_with_json_and_refuses_a_full_directory(tmp_path: Path) -> None:
    output = str(tmp_path / "logs")
    args = (
        "--config=configs/smoke.py",
        "--config.simulation.users=30",
        "--config.simulation.days=5",
        f"--output={output}",
    )
    result, _ = result_of("preprocessing.simulate", *args)
    assert result["output"] == output
    assert result["users"] == 30

    again = run_command("preprocessing.simulate", *args)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert f"--output: found files in {output}, expected an empty directory" in again.stderr


def test_command_names_a_mistyped_parameter(tmp_path: Path) -> None:
    done = run_command(
        "preprocessing.simulate", f"--output={tmp_path / 'logs'}", "--config.simulation.userz=3"
    )
    assert done.returncode == 1
    assert done.stdout == ""
    names = "seed, users, videos, "
    told = f"'userz', expected a name in config.simulation: {names}"
    assert done.stderr.startswith(f"error: --config.simulation.userz: found {told}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
