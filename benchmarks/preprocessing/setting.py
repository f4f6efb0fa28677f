"""What all contestants preprocess: one config, and logs of several sizes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from rich.console import Console

from configs import default
from configs.kinds import (
    Bucketized,
    Count,
    Distribution,
    Entity,
    Freshness,
    HashedId,
    LogZScore,
    OneHot,
    Sequence,
    Vocabulary,
)
from configs.schema import Config, Data, Split, SplitBy
from configs.simulation import ShortVideoSimulation
from preprocessing.simulate import simulate

_EVENTS_PER_USER = 265
_VALIDATION_DATE, _TEST_DATE = "2025-01-23", "2025-01-26"


def config() -> Config:
    """A fixed config, so that figures stay comparable while defaults move on."""
    return Config(
        features={
            "user_id": HashedId(column="user_id"),
            "age": Bucketized(column="age", boundaries=(18, 25, 35, 45, 55, 65)),
            "country": Vocabulary(column="country", max_size=300),
            "user_language": Vocabulary(column="language", max_size=300),
            "gender": OneHot(column="gender"),
            "subscription": OneHot(column="subscription"),
            "device": OneHot(column="device", entity=Entity.CONTEXT),
            "account_age_days": LogZScore(column="signup_date", elapsed=True),
            "positive_count": LogZScore(count=Count(), freshness=Freshness.EVENT),
            "category_affinity": Distribution(of="category"),
            "history": Sequence(),
            "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, dim=64),
            "creator_id": HashedId(column="creator_id", entity=Entity.ITEM),
            "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=1_000),
            "positives": LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=Count()),
            "impressions_7d": LogZScore(
                entity=Entity.ITEM,
                freshness=Freshness.DAY,
                count=Count(event="impression", window_days=7),
            ),
        },
        data=Data(
            split=Split(by=SplitBy.DATE, validation_date=_VALIDATION_DATE, test_date=_TEST_DATE),
            negatives_per_row=0,
        ),
        simulation=ShortVideoSimulation(),
    ).validate()


def simulate_once(log: Path, *, events: int, display: Console) -> Path:
    """Simulates about so many events, unless an earlier run did."""
    if not log.exists():
        users = max(1, round(events / _EVENTS_PER_USER))
        whole = default.get_config().simulation
        assert isinstance(whole, ShortVideoSimulation)
        simulate(dataclasses.replace(whole, users=users), output=str(log), display=display)
    return log


def share_of(log: Path, part: Path, *, share: float) -> Path:
    """The log of a share of the users, all videos; made unless an earlier run did."""
    if part.exists():
        return part
    users = pl.read_parquet(log / "users.parquet").sort("user_id")
    users = users.sample(max(1, round(share * len(users))), seed=0)
    beside = part.with_suffix(".making")
    (beside / "events").mkdir(parents=True, exist_ok=True)
    users.write_parquet(beside / "users.parquet")
    pl.read_parquet(log / "videos.parquet").write_parquet(beside / "videos.parquet")
    for file in sorted((log / "events").glob("*.parquet")):
        events = pl.read_parquet(file).join(users, on="user_id", how="semi")
        events.write_parquet(beside / "events" / file.name)
    beside.rename(part)
    return part


def events_in(tables: Mapping[str, str]) -> int:
    """How many events a log has."""
    return int(pl.scan_parquet(f"{tables['events']}/*.parquet").select(pl.len()).collect().item())
