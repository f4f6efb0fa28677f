"""Small raw logs for tests of preprocessing, and the config that they are made for."""

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from configs import default
from configs.kinds import (
    Bag,
    Bounded,
    Bucketized,
    Count,
    Cyclical,
    Dense,
    Distribution,
    Entity,
    Feature,
    Freshness,
    HashedId,
    LogZScore,
    Measure,
    OneHot,
    Period,
    Text,
    Vocabulary,
)
from configs.kinds import Sequence as History
from configs.schema import Config, Data, Eval, Form, Protocol, Split, SplitBy

QUIET = Console(quiet=True)
DAY_S = 86_400
START = 1_700_006_400  # a UTC midnight

Row = dict[str, Any]


def features() -> dict[str, Feature]:
    """One feature of each kind and entity."""
    return {
        "user_id": HashedId(column="user_id"),
        "country": Vocabulary(column="country", max_size=3),
        "gender": OneHot(column="gender"),
        "age": Bucketized(column="age", boundaries=(18, 30)),
        "account_age_days": LogZScore(column="signup_date", elapsed=True),
        "followers": LogZScore(column="followers"),
        "profile": Dense(column="profile", length=2),
        "device": OneHot(column="device", entity=Entity.CONTEXT),
        "positive_count": LogZScore(count=Count(), freshness=Freshness.EVENT),
        "skips_2d": LogZScore(count=Count(event="skip", window_days=2), freshness=Freshness.EVENT),
        "watched_2d": LogZScore(
            count=Count(event="watch", window_days=2, measure=Measure.WATCH_MS),
            freshness=Freshness.EVENT,
        ),
        "like_ratio": Bounded(
            numerator=Count(event="like"),
            denominator=Count(event="impression", window_days=3),
            freshness=Freshness.EVENT,
        ),
        "hour": Cyclical(column="timestamp", entity=Entity.CONTEXT),
        "weekday": Cyclical(column="timestamp", entity=Entity.CONTEXT, period=Period.WEEK),
        "interests": Bag(column="interests", max_length=3),
        "category_affinity": Distribution(of="category", max_keys=3),
        "creator_affinity": Distribution(of="creator", max_keys=2),
        "history": History(max_length=4, windows=(4, 1)),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, max_size=12),
        "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=3),
        "creator": HashedId(column="creator_id", entity=Entity.ITEM),
        "content": Dense(column="content_vector", entity=Entity.ITEM, length=2),
        "age_days": LogZScore(
            column="upload_time", entity=Entity.ITEM, freshness=Freshness.DAY, elapsed=True
        ),
        "positives": LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=Count()),
        "impressions_2d": LogZScore(
            entity=Entity.ITEM,
            freshness=Freshness.DAY,
            count=Count(event="impression", window_days=2),
        ),
        "completion": Bounded(
            entity=Entity.ITEM,
            freshness=Freshness.DAY,
            numerator=Count(event="watch", measure=Measure.VIEWED_MS),
            denominator=Count(event="watch", measure=Measure.DURATION_MS),
        ),
        "upload_hour": Cyclical(column="upload_time", entity=Entity.ITEM),
        "tags": Bag(column="tags", entity=Entity.ITEM, max_size=3, max_length=2),
        "title": Text(column="title"),
    }


def config_of(data: Data, **kept: Feature) -> Config:
    """A config for these logs; `kept` replaces the features."""
    config = default.get_config()
    config.features = dict(kept) or features()
    config.data = data
    if data.form is Form.SEQUENCE:
        config.train.batch_days = 0.0
    if data.split.by is SplitBy.LOO:
        config.eval = Eval(protocols=(Protocol.LOO_FILE, Protocol.LOO_STRICT))
    return config.validate()


def small_data(**given: Any) -> Data:
    """Rules with several groups, files and records even for a small log."""
    base: Row = {
        "split": Split(validation_fraction=0.7, test_fraction=0.85),
        "label_window_sec": 40,
        "partitions": 3,
        "shards": 2,
        "rows_per_record": 5,
    }
    return Data(**(base | given))


def random_log(seed: int, *, users: int = 12, videos: int = 18, events: int = 700) -> list[Row]:
    """Events with ties, repeats, cancellations and missing columns."""
    draw = random.Random(seed)
    names = ["impression", "impression", "watch", "watch", "click", "like", "share", "skip"]
    names += ["dislike", "report"]
    rows: list[Row] = []
    for _ in range(events):
        # Few seconds in few days, so that many events share one.
        time = (
            START
            + draw.randrange(6) * DAY_S
            + draw.choice((0, 7, 50_000))
            + draw.randrange(0, 30, 5)
        )
        row: Row = {
            "event": draw.choice(names),
            "user_id": f"u{draw.randrange(users)}",
            "video_id": f"v{draw.randrange(videos)}",
            "timestamp": time,
        }
        if row["event"] == "watch":
            row["watch_sec"] = draw.choice((1, 4.5, 9))
            if draw.random() < 0.5:
                row["video_duration"] = draw.choice((8, 10.0))
        if draw.random() < 0.7:
            row["device"] = draw.choice(("ios", "web", "tv"))
        if row["event"] == "impression":
            row |= {"position": draw.randrange(9), "propensity": 0.25, "session_id": f"s{time}"}
        rows.append(row)
        if draw.random() < 0.05:
            rows.append(row | {"watch_sec": draw.choice((2, 6)), "device": draw.choice(("a", "z"))})
    return rows


def random_videos(seed: int, *, videos: int = 16) -> list[Row]:
    """Some videos, fewer than events name and one that none names."""
    draw = random.Random(seed + 1)
    rows: list[Row] = [{"video_id": "unseen", "category": "b", "upload_time": START + 9 * DAY_S}]
    for number in range(videos):
        row: Row = {"video_id": f"v{number}", "duration_sec": draw.choice((8, 20))}
        if draw.random() < 0.8:
            row["category"] = draw.choice("abcde")
        if draw.random() < 0.9:
            row["creator_id"] = draw.choice("pqrst")
        if draw.random() < 0.7:
            row["upload_time"] = START + draw.randrange(-9, 5) * DAY_S
        if draw.random() < 0.8:
            row["content_vector"] = [number, 0.5]
        if draw.random() < 0.8:
            row["tags"] = draw.sample(["x", "y", "z", "", None], draw.randrange(5))  # type: ignore[arg-type]
        if draw.random() < 0.8:
            row["title"] = draw.choice(("A cat", "a cat!", "dogs", "?"))
        rows.append(row)
    return rows


def random_users(seed: int, *, users: int = 10) -> list[Row]:
    """Some users, fewer than events name and one without any event."""
    draw = random.Random(seed + 2)
    rows: list[Row] = [{"user_id": "silent", "country": "fr", "signup_date": START}]
    for number in range(users):
        row: Row = {"user_id": f"u{number}", "country": draw.choice(("de", "fr", "it", "es"))}
        if draw.random() < 0.8:
            row |= {"gender": draw.choice("fm"), "age": draw.randrange(15, 50)}
        if draw.random() < 0.8:
            row["signup_date"] = START - draw.randrange(0, 99) * DAY_S
        if draw.random() < 0.8:
            row |= {"followers": draw.randrange(9), "profile": [0.25, number]}
        if draw.random() < 0.7:
            row["interests"] = draw.sample("klmno", draw.randrange(5))
        rows.append(row)
    return rows


class RawLog(NamedTuple):
    """The rows of the three tables."""

    events: list[Row]
    videos: list[Row]
    users: list[Row]

    def write(self, folder: Path) -> dict[str, str]:
        """Writes JSON Lines, the events in three files; returns what `preprocess` takes."""
        return write_tables(folder, *self)


def raw_log(seed: int, *, users: int = 12, videos: int = 18, events: int = 700) -> RawLog:
    """All three tables of one random log."""
    rows = random_log(seed, users=users, videos=videos, events=events)
    return RawLog(rows, random_videos(seed), random_users(seed))


def write_lines(path: Path, rows: Iterable[Row | str]) -> Path:
    """Writes JSON Lines, gzipped if the name says so; strings go in as they are."""
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_tables(
    folder: Path, events: Sequence[Row], videos: Sequence[Row], users: Sequence[Row]
) -> dict[str, str]:
    """Writes a log as JSON Lines, its events in three files; returns what `preprocess` takes."""
    for part in range(3):
        write_lines(folder / "events" / f"{part}.jsonl", events[part::3])
    return {
        "events": str(folder / "events"),
        "videos": str(write_lines(folder / "videos.jsonl", videos)),
        "users": str(write_lines(folder / "users.jsonl.gz", users)),
    }
