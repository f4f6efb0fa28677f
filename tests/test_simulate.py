import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from configs.errors import UserError
from configs.schema import Split, SplitBy
from configs.simulation import LogFormat, ShortVideoSimulation, StreamRecSimulation
from preprocessing.simulate import simulate
from preprocessing.simulation import short_video, streamrec, topics
from preprocessing.simulation.cuts import find_cuts
from preprocessing.simulation.log import Log
from preprocessing.simulation.policy import LoggingPolicy, show
from preprocessing.simulation.short_video import ShortVideoLogs, simulate_short_video
from preprocessing.simulation.truth import make_truth, mean_recall, window_positives

QUIET = Console(quiet=True)
DAY_S = 86_400


def small(**changes: Any) -> ShortVideoSimulation:
    return ShortVideoSimulation(
        **{"users": 300, "videos": 1_500, "creators": 80, "days": 21, "truth_depth": 100} | changes
    )


def run(config: ShortVideoSimulation) -> ShortVideoLogs:
    return simulate_short_video(config, split=Split(), progress=lambda stage, share: None)


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


def test_truth_expects_as_much_as_happens() -> None:
    logs = run(small(users=600))
    log, split = logs.log, logs.cuts.test_time
    policy = LoggingPolicy(logs.platform.config, logs.platform.catalog)
    truth = make_truth(
        logs.platform,
        [policy.day(number) for number in range(logs.platform.config.days)],
        log,
        users=np.arange(600),
        split=split,
        advance=lambda share: None,
    )
    relevant = window_positives(logs.platform, log, split=split)
    happened = np.isin(
        truth.user * 1_500 + truth.video,
        log.user[relevant].astype(np.int64) * 1_500 + log.video[relevant],
    )
    for ranks in (truth.rank <= 10, truth.rank > 10):
        assert happened[ranks].sum() == pytest.approx(truth.expected[ranks].sum(), rel=0.12)


def test_oracle_beats_popularity(logs: ShortVideoLogs) -> None:
    log, split = logs.log, logs.cuts.test_time
    relevant = window_positives(logs.platform, log, split=split)
    pairs = {
        "users": log.user[relevant].astype(np.int64),
        "videos": log.video[relevant].astype(np.int64),
    }
    users = np.unique(pairs["users"])
    count = np.bincount(log.video[log.positive & (log.time_s < split)], minlength=1_500)
    scores = np.tile(count, (300, 1))
    before = log.time_s < split
    scores[log.user[before], log.video[before]] = -1
    top = np.argsort(-scores[users], axis=1)[:, :20]
    popularity = mean_recall(**pairs, listed_users=np.repeat(users, 20), listed_videos=top.ravel())
    listed = logs.truth.rank <= 20
    oracle = mean_recall(
        **pairs, listed_users=logs.truth.user[listed], listed_videos=logs.truth.video[listed]
    )
    assert oracle is not None
    assert popularity is not None
    assert oracle > 2 * popularity > 0


def test_mean_recall_by_hand() -> None:
    found = mean_recall(
        users=np.array([0, 0, 3]),
        videos=np.array([5, 6, 5]),
        listed_users=np.array([0, 0, 3, 4]),
        listed_videos=np.array([6, 9, 6, 5]),
    )
    assert found == 0.25
    none = np.empty(0, dtype=np.int64)
    assert mean_recall(users=none, videos=none, listed_users=none, listed_videos=none) is None


@given(
    times=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    percents=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_cuts_are_the_first_second_with_enough_before(
    times: list[int], percents: tuple[int, int]
) -> None:
    low, high = sorted(percents)
    cuts = find_cuts(Split(validation_fraction=low / 100, test_fraction=high / 100), np.sort(times))
    for percent, cut in ((low, cuts.validation_time), (high, cuts.test_time)):
        enough = [100 * sum(t < c for t in times) >= percent * len(times) for c in (cut, cut - 1)]
        assert enough == [True, False]


def test_cuts_by_date_and_by_user() -> None:
    split = Split(by=SplitBy.DATE, validation_date="2025-01-20", test_date="2025-01-21")
    cuts = find_cuts(split, np.array([0]))
    assert cuts.test_time - cuts.validation_time == DAY_S
    with pytest.raises(UserError, match="split.by: found loo"):
        find_cuts(Split(by=SplitBy.LOO), np.array([0]))


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": 0}, "items: found 0"),
        ({"preferred_max": 16}, "preferred_max: found 16"),
        ({"weight_max": 0.1}, "weight_max: found 0.1"),
        ({"noise_scale": -1.0}, "noise_scale: found -1.0"),
    ],
)
def test_a_wrong_streamrec_parameter_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"config.simulation.{message}"):
        StreamRecSimulation(**changes).validate()


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "preprocessing.simulate", *args],
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_ends_with_json_and_refuses_a_full_directory(tmp_path: Path) -> None:
    output = str(tmp_path / "logs")
    args = (
        "--config=configs/smoke.py",
        "--config.simulation.users=30",
        "--config.simulation.days=5",
        f"--output={output}",
    )
    done = command(*args)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["output"] == output
    assert result["users"] == 30

    again = command(*args)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert f"--output: found files in {output}, expected an empty directory" in again.stderr


@pytest.fixture(scope="module")
def streamrec_logs() -> streamrec.StreamRecLogs:
    return streamrec.simulate_streamrec(StreamRecSimulation(), split=Split())


def test_streamrec_oracle_has_its_known_values(streamrec_logs: streamrec.StreamRecLogs) -> None:
    oracle = streamrec.summarize_streamrec(streamrec_logs)["oracle"]
    assert oracle["hr_at_10"] == pytest.approx(0.00336, abs=1e-5)
    assert oracle["hr_at_50"] == pytest.approx(0.0168, abs=1e-4)
    assert oracle["hr_at_100"] == pytest.approx(0.0336, abs=1e-4)


def test_streamrec_draws_as_told(streamrec_logs: streamrec.StreamRecLogs) -> None:
    preferred = (streamrec_logs.weight > 0).sum(axis=1)
    assert set(preferred) == {2, 3, 4}
    weights = streamrec_logs.weight[streamrec_logs.weight > 0]
    assert 0.5 <= weights.min()
    assert weights.max() <= 2
    assert weights.mean() == pytest.approx(1.25, abs=0.01)
    # What was drawn scores as the closed form says.
    hit = streamrec_logs.item_probability[
        streamrec_logs.user, streamrec_logs.category[streamrec_logs.item]
    ]
    sizes = np.bincount(streamrec_logs.category, minlength=15)
    expected = (streamrec_logs.item_probability**2 @ sizes).mean()
    assert hit.mean() == pytest.approx(expected, rel=0.005)
    early = streamrec_logs.timestamp < streamrec_logs.cuts.validation_time
    assert early.mean() == pytest.approx(0.8, abs=1e-5)


def test_streamrec_shortcut_is_the_gumbel_argmax() -> None:
    rng = np.random.default_rng(0)
    weight, category = np.array([0.0, 1.5, 0.7]), np.array([0, 0, 1, 1, 1, 2])
    draws = 200_000
    best = (weight[category] + 0.5 * rng.gumbel(size=(draws, len(category)))).argmax(axis=1)
    found = np.bincount(best, minlength=len(category)) / draws
    expected = streamrec.item_probabilities(
        weight[np.newaxis], np.bincount(category), noise_scale=0.5
    )[0, category]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert expected.sum() == pytest.approx(1)


def test_expected_hit_rate_of_known_lists(streamrec_logs: streamrec.StreamRecLogs) -> None:
    probability = streamrec_logs.item_probability
    sizes = np.bincount(streamrec_logs.category, minlength=15)
    users = np.arange(0, 50_000, 7)
    oracle = np.repeat(probability[users].argmax(axis=1)[:, np.newaxis], 100, axis=1)
    best = streamrec.oracle_hit_rate(probability[users], sizes, depth=100)
    rate = streamrec.expected_hit_rate(probability, user_rows=users, item_categories=oracle)
    assert rate == pytest.approx(best)
    # A whole catalog hits always, and an empty place never.
    everything = np.tile(streamrec_logs.category, (2, 1))
    assert streamrec.expected_hit_rate(
        probability, user_rows=users[:2], item_categories=everything
    ) == pytest.approx(1)
    oracle[:, 50:] = -1
    assert streamrec.expected_hit_rate(
        probability, user_rows=users, item_categories=oracle
    ) == pytest.approx(best / 2)


def test_streamrec_tables(tmp_path: Path) -> None:
    config = StreamRecSimulation(users=50, items=120, interactions=1_000)
    simulate(config, output=str(tmp_path / "logs"), display=QUIET)
    tables = read(tmp_path / "logs")
    assert set(tables["events"]["event"]) == {"like"}
    assert tables["events"]["timestamp"].is_sorted()
    profile = np.stack(tables["users"]["profile_vector"].to_list())
    assert profile.shape == (50, 64)
    weights = np.stack(tables["users"]["category_weights"].to_list())
    assert weights.shape == (50, 15)
    assert np.stack(tables["videos"]["content_vector"].to_list()).shape == (120, 96)
    # The truth is what the tables' own weights and categories give.
    sizes = np.array([(tables["videos"]["category"] == f"c{c:02d}").sum() for c in range(15)])
    expected = streamrec.item_probabilities(weights.astype(np.float64), sizes, noise_scale=0.5)
    found = tables["truth"]["probability"].to_numpy().reshape(50, 15)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert tables["truth"]["user_id"].to_list()[::15] == tables["users"]["user_id"].to_list()
