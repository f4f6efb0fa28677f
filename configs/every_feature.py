"""The default run with every feature that a short-video platform keeps of users and videos.

Beyond the default's, of users: watch time, watches and likes of the last days, hour and weekday of
the request, the creators they like, ages and session of the history; of videos: tags, title, views,
completion rate, like ratio, click-through rate, hour of upload.

`--config=configs/every_feature.py:minilm` has a sentence encoder read the titles, about 100 a
second (the extra `text`), in place of hashed n-grams.
"""

from configs import default
from configs.errors import UserError
from configs.kinds import (
    Bag,
    Bounded,
    Count,
    Cyclical,
    Distribution,
    Entity,
    Feature,
    Freshness,
    LogZScore,
    Measure,
    Period,
    Sequence,
    Text,
    TextEncoder,
)
from configs.schema import Config


def features() -> dict[str, Feature]:
    """The default's features and the rest."""

    def of_user(event: str, window_days: int, measure: Measure = Measure.EVENTS) -> LogZScore:
        count = Count(event=event, window_days=window_days, measure=measure)
        return LogZScore(freshness=Freshness.EVENT, count=count)

    def ratio(part: Count, whole: Count) -> Bounded:
        return Bounded(
            entity=Entity.ITEM, freshness=Freshness.DAY, numerator=part, denominator=whole
        )

    watches = Count(event="watch")
    return {
        **default.features(),
        "watch_minutes_7d": of_user("watch", 7, Measure.WATCH_MS),  # the daily average
        "watches_7d": of_user("watch", 7),
        "watches_30d": of_user("watch", 30),
        "likes_7d": of_user("like", 7),
        "creator_affinity": Distribution(of="creator_id"),
        "history": Sequence(session_length=5, age_dim=8),
        "hour": Cyclical(column="timestamp", entity=Entity.CONTEXT),
        "weekday": Cyclical(column="timestamp", entity=Entity.CONTEXT, period=Period.WEEK),
        "tags": Bag(column="tags", entity=Entity.ITEM),
        "title": Text(column="title"),
        "upload_hour": Cyclical(column="upload_time", entity=Entity.ITEM),
        "views": LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=watches),
        "completion_rate": ratio(
            Count(event="watch", measure=Measure.VIEWED_MS),
            Count(event="watch", measure=Measure.DURATION_MS),
        ),
        "like_ratio": ratio(Count(event="like"), watches),
        "ctr": ratio(Count(event="click"), Count(event="impression")),
    }


def get_config(titles: str = TextEncoder.HASHING.value) -> Config:
    """The run.

    Args:
        titles: the encoder of titles.

    Raises:
        UserError: there is none of this name.
    """
    known = [encoder.value for encoder in TextEncoder]
    if titles not in known:
        raise UserError(f"--config: found variant {titles!r}, expected {' or '.join(known)}")
    config = default.get_config()
    config.features = features()
    config.features["title"] = Text(column="title", encoder=TextEncoder(titles))
    return config
