"""Every default: for the short-video log that `preprocessing.simulate` writes, and its towers."""

from configs.kinds import (
    Bucketized,
    Count,
    Distribution,
    Entity,
    Feature,
    Freshness,
    HashedId,
    LogZScore,
    OneHot,
    Sequence,
    Vocabulary,
)
from configs.schema import Config, Model, Train
from configs.simulation import ShortVideoSimulation


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
        "positive_count": LogZScore(count=Count(), freshness=Freshness.EVENT),
        "category_affinity": Distribution(of="category"),
        "history": Sequence(),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, dim=64),
        "creator_id": HashedId(column="creator_id", entity=Entity.ITEM, num_buckets=50_000, dim=32),
        "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=1_000),
        "item_language": Vocabulary(column="language", entity=Entity.ITEM, max_size=300, dim=8),
        "duration": Bucketized(
            column="duration_sec", entity=Entity.ITEM, boundaries=(8, 15, 30, 60, 120, 300, 600)
        ),
        "age_days": LogZScore(
            column="upload_time", entity=Entity.ITEM, freshness=Freshness.DAY, elapsed=True
        ),
        "positives": LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=Count()),
        "positives_7d": LogZScore(
            entity=Entity.ITEM, freshness=Freshness.DAY, count=Count(window_days=7)
        ),
        "impressions_7d": LogZScore(
            entity=Entity.ITEM,
            freshness=Freshness.DAY,
            count=Count(event="impression", window_days=7),
        ),
    }


def get_config() -> Config:
    """The default run: about 440 steps on the simulated log, chosen on its validation split."""
    return Config(
        features=features(),
        simulation=ShortVideoSimulation(),
        model=Model(dropout=0.2),
        train=Train(batch_size=1_024, epochs=3, history_dropout=0.2, item_id_dropout=0.5),
    )
