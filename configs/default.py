"""Every default: for the short-video log that `preprocessing.simulate` writes, and its towers.

`--config=configs/default.py:minilm` has a sentence encoder read the titles, about 100 a second (the
extra `text`), in place of hashed n-grams.
"""

from configs.errors import UserError
from configs.kinds import (
    Bag,
    Bounded,
    Bucketized,
    Count,
    Cyclical,
    Distribution,
    Entity,
    Feature,
    Freshness,
    HashedId,
    LogZScore,
    Measure,
    OneHot,
    Period,
    Sequence,
    Text,
    TextEncoder,
    Vocabulary,
)
from configs.schema import Config, Model, Train
from configs.simulation import ShortVideoSimulation


def _of_user(event: str, *, window_days: int, measure: Measure = Measure.EVENTS) -> LogZScore:
    count = Count(event=event, window_days=window_days, measure=measure)
    return LogZScore(freshness=Freshness.EVENT, count=count)


def _of_item(event: str, *, window_days: int = 0) -> LogZScore:
    count = Count(event=event, window_days=window_days)
    return LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=count, by_day=True)


def _item_ratio(part: Count, whole: Count) -> Bounded:
    return Bounded(entity=Entity.ITEM, freshness=Freshness.DAY, numerator=part, denominator=whole)


def features() -> dict[str, Feature]:
    """The features of the short-video log."""
    return {
        # Narrow: what a user likes is in the history; a wide table learns train rows by heart.
        "user_id": HashedId(column="user_id", num_buckets=100_000, dim=4),
        "age": Bucketized(column="age", boundaries=(18, 25, 35, 45, 55, 65)),
        "country": Vocabulary(column="country", max_size=300),
        "user_language": Vocabulary(column="language", max_size=300),
        "gender": OneHot(column="gender"),
        "subscription": OneHot(column="subscription"),
        "device": OneHot(column="device", entity=Entity.CONTEXT),
        "account_age_days": LogZScore(column="signup_date", elapsed=True),
        "watch_minutes_7d": _of_user("watch", window_days=7, measure=Measure.WATCH_MS),
        "watches_7d": _of_user("watch", window_days=7),
        "watches_30d": _of_user("watch", window_days=30),
        "likes_7d": _of_user("like", window_days=7),
        "positive_count": _of_user("positive", window_days=0),
        "category_affinity": Distribution(of="category"),
        "creator_affinity": Distribution(of="creator_id"),
        "history": Sequence(session_length=5, age_dim=8),
        "hour": Cyclical(column="timestamp", entity=Entity.CONTEXT),
        "weekday": Cyclical(column="timestamp", entity=Entity.CONTEXT, period=Period.WEEK),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, dim=64),
        "creator_id": HashedId(column="creator_id", entity=Entity.ITEM, num_buckets=50_000, dim=32),
        "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=1_000),
        "item_language": Vocabulary(column="language", entity=Entity.ITEM, max_size=300, dim=8),
        "duration": Bucketized(
            column="duration_sec", entity=Entity.ITEM, boundaries=(8, 15, 30, 60, 120, 300, 600)
        ),
        "tags": Bag(column="tags", entity=Entity.ITEM),
        "title": Text(column="title", dim=32),  # as narrow as a creator: histories pool it too
        "age_days": LogZScore(
            column="upload_time", entity=Entity.ITEM, freshness=Freshness.DAY, elapsed=True
        ),
        "upload_hour": Cyclical(column="upload_time", entity=Entity.ITEM),
        "positives": _of_item("positive"),
        "positives_7d": _of_item("positive", window_days=7),
        "impressions_7d": _of_item("impression", window_days=7),
        "views": _of_item("watch"),
        "completion_rate": _item_ratio(
            Count(event="watch", measure=Measure.VIEWED_MS),
            Count(event="watch", measure=Measure.DURATION_MS),
        ),
        "like_ratio": _item_ratio(Count(event="like"), Count(event="watch")),
        "ctr": _item_ratio(Count(event="click"), Count(event="impression")),
    }


def get_config(titles: str = TextEncoder.HASHING.value) -> Config:
    """The default run: about 440 steps on the simulated log, chosen on its validation split.

    Args:
        titles: the encoder of titles.

    Raises:
        UserError: there is none of this name.
    """
    known = [encoder.value for encoder in TextEncoder]
    if titles not in known:
        raise UserError(f"--config: found variant {titles!r}, expected {' or '.join(known)}")
    config = Config(
        features=features(),
        simulation=ShortVideoSimulation(),
        model=Model(dropout=0.2, cross_rank=64),
        train=Train(
            batch_size=1_024,
            epochs=3,
            batch_days=10,
            history_dropout=0.2,
            item_id_dropout=0.5,
        ),
    )
    title = config.features["title"]
    assert isinstance(title, Text)
    title.encoder = TextEncoder(titles)
    return config
