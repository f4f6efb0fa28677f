"""The simulated users: who they are, what they like, how that drifts, how often they come."""

import dataclasses

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation import topics
from preprocessing.simulation.arrays import Doubles, Floats, Ints
from preprocessing.simulation.catalog import (
    LANGUAGE_SHARES,
    LANGUAGES,
    Catalog,
    category_of,
    directions,
)

GENDERS: tuple[str, ...] = ("female", "male", "other")
GENDER_SHARES: tuple[float, ...] = (0.48, 0.48, 0.04)
SUBSCRIPTIONS: tuple[str, ...] = ("free", "plus", "premium")
SUBSCRIPTION_SHARES: tuple[float, ...] = (0.8, 0.15, 0.05)
DEVICES: tuple[str, ...] = ("phone", "tablet", "web", "tv")
DEVICE_SHARES: tuple[float, ...] = (0.78, 0.08, 0.1, 0.04)
NETWORKS: tuple[str, ...] = ("wifi", "4g", "5g", "ethernet")
NETWORK_SHARES: tuple[float, ...] = (0.55, 0.22, 0.18, 0.05)
# Two countries to each of `LANGUAGES`, in its order.
COUNTRIES: tuple[tuple[str, str], ...] = (
    ("US", "GB"),
    ("MX", "ES"),
    ("IN", "NP"),
    ("BR", "PT"),
    ("FR", "BE"),
    ("DE", "AT"),
)

_AGE_RANGE = (13, 75)
_AGE_GROUP_STARTS = (18, 25, 35, 50)
_SIGNUP_DAYS_BEFORE = 720
# Relative weights of a user's interests are uniform in this.
_INTEREST_WEIGHTS = (0.5, 1.0)
# Weight of a creator in another language as the source of an interest.
_FOREIGN_CREATOR = 0.05
# Weekends are busier; 0 is Monday.
_WEEKDAY_FACTORS = (0.92, 0.92, 0.94, 0.96, 1.04, 1.12, 1.1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The users.

    Attributes:
        taste_first: [num_users, taste_dim] float32, unit length: taste when the log starts.
        taste_second: [num_users, taste_dim] float32, unit length: what taste turns towards.
        drift_radians: [num_users] float64, the angle turned by the end of the log.
        sessions_per_day: [num_users] float64, before the weekday's factor.
        signup_time: [num_users] int64, UTC seconds.
        language: [num_users] int64, index into `LANGUAGES`.
        country: [num_users] int64, 0 or 1, index into the pair of `COUNTRIES`.
        age: [num_users] int64.
        gender: [num_users] int64, index into `GENDERS`.
        subscription: [num_users] int64, index into `SUBSCRIPTIONS`.
        device: [num_users] int64, the usual one, index into `DEVICES`.
    """

    taste_first: Floats
    taste_second: Floats
    drift_radians: Doubles
    sessions_per_day: Doubles
    signup_time: Ints
    language: Ints
    country: Ints
    age: Ints
    gender: Ints
    subscription: Ints
    device: Ints

    def taste(self, users: slice | Ints, progress: float) -> Floats:
        """Taste vectors, [len(users), taste_dim] float32, unit length.

        Args:
            users: which users.
            progress: share of the log that has passed, 0 to 1.
        """
        angle = self.drift_radians[users, np.newaxis] * progress
        return _unit(
            (
                np.cos(angle) * self.taste_first[users] + np.sin(angle) * self.taste_second[users]
            ).astype(np.float32)
        )


def weekday_factor(day_start: int) -> float:
    """How busy the UTC day that starts at `day_start` (UTC seconds) is; 1 on average."""
    # 1 January 1970 was a Thursday.
    return _WEEKDAY_FACTORS[(day_start // SECONDS_PER_DAY + 3) % 7]


def make_population(
    config: ShortVideoSimulation, catalog: Catalog, rng: np.random.Generator
) -> Population:
    """Draws the users."""
    count = config.users
    age = np.clip(rng.gamma(shape=4.0, scale=5.0, size=count) + 12, *_AGE_RANGE).astype(np.int64)
    gender = rng.choice(len(GENDERS), size=count, p=GENDER_SHARES)
    language = rng.choice(len(LANGUAGES), size=count, p=LANGUAGE_SHARES)
    group = np.searchsorted(_AGE_GROUP_STARTS, age, side="right") * len(GENDERS) + gender
    groups = (len(_AGE_GROUP_STARTS) + 1) * len(GENDERS)
    leaning = config.demographic_weight * rng.standard_normal((groups, len(topics.CATEGORIES)))
    activity = rng.lognormal(sigma=config.activity_sigma, size=count)
    is_new = rng.random(count) < config.new_user_share
    signup_time = config.start + np.where(
        is_new,
        rng.integers(config.days * SECONDS_PER_DAY, size=count),
        -rng.integers(1, _SIGNUP_DAYS_BEFORE * SECONDS_PER_DAY, size=count),
    )

    def tastes() -> Floats:
        return _tastes(config, catalog, leaning=leaning, group=group, language=language, rng=rng)

    return Population(
        taste_first=tastes(),
        taste_second=tastes(),
        drift_radians=np.deg2rad(rng.uniform(0, config.drift_max_degrees, size=count)),
        sessions_per_day=config.sessions_per_day * activity / activity.mean(),
        signup_time=signup_time,
        language=language,
        country=rng.integers(2, size=count),
        age=age,
        gender=gender,
        subscription=rng.choice(len(SUBSCRIPTIONS), size=count, p=SUBSCRIPTION_SHARES),
        device=rng.choice(len(DEVICES), size=count, p=DEVICE_SHARES),
    )


def _tastes(
    config: ShortVideoSimulation,
    catalog: Catalog,
    *,
    leaning: Doubles,
    group: Ints,
    language: Ints,
    rng: np.random.Generator,
) -> Floats:
    """Sums of a few interests, each the direction of one creator's videos, and a residual."""
    creators = catalog.creators
    category = category_of(creators.subtopic)
    anchors = (
        np.float32(np.sqrt(config.category_share)) * catalog.category_vectors[category]
        + np.float32(np.sqrt(config.subtopic_share)) * catalog.subtopic_vectors[creators.subtopic]
        + np.float32(np.sqrt(config.creator_share)) * creators.own
    )
    number = rng.integers(config.interests_min, config.interests_max + 1, size=config.users)
    weight = rng.uniform(*_INTEREST_WEIGHTS, size=(config.users, config.interests_max))
    weight[np.arange(config.interests_max) >= number[:, np.newaxis]] = 0
    uniform = rng.random((config.users, config.interests_max))
    chosen = np.empty(uniform.shape, dtype=np.int64)
    for alike in np.unique(np.stack([group, language], axis=1), axis=0):
        users = np.flatnonzero((group == alike[0]) & (language == alike[1]))
        # A creator who uploads more is likelier, and one of another language unlikelier.
        mass = creators.share * np.exp(leaning[alike[0], category])
        mass *= np.where(creators.language == alike[1], 1.0, _FOREIGN_CREATOR)
        cumulative = np.cumsum(mass)
        found = np.searchsorted(cumulative, uniform[users] * cumulative[-1], side="right")
        chosen[users] = np.minimum(found, len(mass) - 1)
    interests = np.einsum("uk,ukd->ud", weight.astype(np.float32), anchors[chosen])
    residual = directions(rng, config.users, config.taste_dim)
    return _unit(_unit(interests) + np.float32(config.user_residual) * residual)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
