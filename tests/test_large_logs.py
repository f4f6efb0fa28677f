"""Logs of a million events: every row is older than what it predicts, and one user may have all."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs import default
from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.description.reading import read_rows
from preprocessing.features import spec_of
from preprocessing.job import preprocess
from tests.commands import said_by
from tests.quiet import QUIET
from tests.raw_logs import DAY_S, START

pytestmark = [pytest.mark.slow, pytest.mark.timeout(14_400)]

EVENTS, VIDEOS, DAYS = 1_000_000, 200_000, 30
GIB = 1 << 30
NAMES = np.array(["impression", "watch", "like", "skip"])


def write_log(folder: Path, users: int) -> dict[str, str]:
    """A million events on 200 k videos; the same but for the users, who are drawn at random."""
    draw = np.random.default_rng(0)
    popular = (draw.random(EVENTS) ** 2 * VIDEOS).astype(np.int64)
    events = pl.DataFrame(
        {
            "event": NAMES[draw.integers(0, len(NAMES), EVENTS)],
            "video_id": popular,
            "timestamp": START + np.sort(draw.integers(0, DAYS * DAY_S, EVENTS)),
            "watch_sec": draw.random(EVENTS) * 60,
            "device": draw.choice(["ios", "android", "web"], EVENTS),
            "user_id": np.random.default_rng(1).integers(0, users, EVENTS),
        }
    )
    numbers = np.arange(VIDEOS)
    videos = pl.DataFrame(
        {
            "video_id": numbers,
            "creator_id": numbers % 5_000,
            "category": [f"c{n % 200}" for n in numbers],
            "tags": [[f"t{n % 300}"] for n in numbers],
            "title": [f"title {n % 1_000}" for n in numbers],
            "language": [f"l{n % 20}" for n in numbers],
            "duration_sec": 10.0 + numbers % 50,
            "upload_time": START - numbers % (90 * DAY_S),
        }
    )
    people = np.arange(users)
    profiles = pl.DataFrame(
        {
            "user_id": people,
            "age": 20.0 + people % 40,
            "country": [f"c{n % 40}" for n in people],
            "language": [f"l{n % 20}" for n in people],
            "gender": ["f"] * users,
            "subscription": ["free"] * users,
            "signup_date": np.full(users, START - 100 * DAY_S),
        }
    )
    folder.mkdir()
    tables = {"events": events, "videos": videos, "users": profiles}
    for name, frame in tables.items():
        frame.write_parquet(folder / f"{name}.parquet")
    return {name: str(folder / f"{name}.parquet") for name in tables}


_RUN = """
import json, resource, sys
from pathlib import Path
from rich.console import Console
from configs import default
from preprocessing.job import preprocess
tables, output = json.loads(sys.argv[1])
preprocess(default.get_config().validate(), tables=tables, output=Path(output),
           display=Console(quiet=True))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory(tables: dict[str, str], output: Path) -> int:
    """Bytes resident at most, of a job in a process of its own."""
    *_, peak = said_by(_RUN, json.dumps([tables, str(output)]), timeout_s=14_000)
    return int(peak)


def train_of(output: Path, config: Config, names: list[str]) -> pl.DataFrame:
    """Some columns of all train rows."""
    spec = spec_of(config)
    columns = [c for c in spec.train_columns if c.name in names]
    frames = [
        frame
        for file in manifests.read(output).part("train")
        for frame in read_rows(output / file.name, columns)
    ]
    return pl.concat(frames)


def test_one_user_with_all_events_takes_no_more_memory_and_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = default.get_config().validate()
    spread = peak_memory(write_log(tmp_path / "spread", 20_000), tmp_path / "a")
    tables = write_log(tmp_path / "one", 1)
    one = peak_memory(tables, tmp_path / "b")
    with capsys.disabled():
        print(f"\npeak memory: {spread / GIB:.2f} GiB spread, {one / GIB:.2f} GiB of one user")

    counters = manifests.read(tmp_path / "b").counters["total"]
    assert counters["read"] == EVENTS == counters["duplicate"] + counters["valid"]
    rows = train_of(
        tmp_path / "b", config, ["user_id", "item", "timestamp", "label_time", "history_timestamp"]
    ).sort("label_time")
    assert len(rows) == counters["rows"]["train"] > 40_000
    assert rows["item"].n_unique() == len(rows)  # a video is liked for the first time once
    # Of one user's positives, each row's history is the newest fifty before its second.
    positives = first_positives(tables)
    length = spec_of(config).sequence[1].max_length
    sample = rows.gather_every(max(len(rows) // 500, 1))
    for row in sample.iter_rows(named=True):
        end = int(np.searchsorted(positives, row["timestamp"]))
        expected = positives[max(end - length, 0) : end].tolist()
        assert row["history_timestamp"] == expected
    assert one - spread <= GIB


def first_positives(tables: dict[str, str]) -> np.ndarray:
    """Times of the first positive of each video of the one user, by another way than the job's."""
    events, videos = pl.read_parquet(tables["events"]), pl.read_parquet(tables["videos"])
    long = events.join(videos.select("video_id", "duration_sec"), on="video_id").filter(
        (pl.col("event") == "like")
        | ((pl.col("event") == "watch") & (pl.col("watch_sec") > 0.5 * pl.col("duration_sec")))
    )
    return np.sort(long.group_by("video_id").agg(pl.col("timestamp").min())["timestamp"].to_numpy())


def test_features_of_a_simulated_log_are_older_than_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from preprocessing.simulate import simulate, tables_in

    config = default.get_config()
    config.simulation.users *= 3
    config.validate()
    simulate(
        config.simulation, output=str(tmp_path / "logs"), display=QUIET, split=config.data.split
    )
    preprocess(
        config, tables=tables_in(tmp_path / "logs"), output=tmp_path / "dataset", display=QUIET
    )
    read = manifests.read(tmp_path / "dataset").counters["total"]["read"]
    rows = train_of(
        tmp_path / "dataset",
        config,
        ["user_id", "timestamp", "feature_time", "label_time", "history_timestamp", "day"],
    )
    newest = rows.select(
        age=pl.col("timestamp") - pl.col("feature_time"),
        of_history=pl.col("feature_time") - pl.col("history_timestamp").list.max().fill_null(0),
        day=pl.col("timestamp") // DAY_S - pl.col("day"),
        label=pl.col("label_time") - pl.col("timestamp"),
    )
    with capsys.disabled():
        print(
            f"\n{read:,} events, {len(rows):,} rows: the newest feature is {newest['age'].min()} s "
            f"before its row at least, {newest['age'].median():.0f} s in the median"
        )
    assert read >= 1_000_000
    assert newest["age"].min() > 0
    assert newest["of_history"].min() >= 0
    assert newest["label"].min() >= 0
    assert (newest["day"] == 0).all()
