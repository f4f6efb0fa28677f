"""The parameters of the simulated logs: a short-video platform, and the StreamRec generator."""

import dataclasses
import enum
import math

from configs.errors import UserError

_DAY_S = 86_400
_START = 1_735_689_600  # 2025-01-01 00:00 UTC


class LogFormat(enum.Enum):
    """How the simulated tables are written."""

    PARQUET = "parquet"
    JSON_LINES = "jsonl"  # gzip


def _fail(field: str, found: object, expected: str) -> None:
    raise UserError(f"config.simulation.{field}: found {found}, expected {expected}")


def _require_at_least(config: object, low: float, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        if not (math.isfinite(value) and value >= low):
            _fail(field, value, f"a number of at least {low:g}")


def _require_above_0(config: object, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        if not (math.isfinite(value) and value > 0):
            _fail(field, value, "a number above 0")


def _require_share(config: object, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        if not 0 <= value <= 1:
            _fail(field, value, "a share from 0 to 1")


def _require_day_start(start: int) -> None:
    if start < 0 or start % _DAY_S:
        _fail("start", start, "the UTC second at which a day begins")


@dataclasses.dataclass(slots=True, kw_only=True)
class ShortVideoSimulation:
    """A short-video platform over some weeks.

    Taste of a user for a video = user vector · video vector, less `language_gap` where they share
    no language. It drives both the logging policy and every response. Vectors are sums of a
    category's, a subtopic's and a creator's direction, so they can be learned from ids.

    The defaults were chosen so that models can be told apart, and were frozen before any model was
    trained on them. Over seeds 0 to 4 (`python -m benchmarks.simulator`): 1.06 M events, 37 train
    positives a user, 10 % of test events or more on videos uploaded after train. Mean Recall@100:
    oracle 0.565; as shares of it, the best of popularity overall and of late 0.18 (0.16 to 0.19),
    item-kNN 0.61 (0.59 to 0.62), EASE 0.61, counts of the user's creators 0.69, and the true video
    vectors with users known by the centroid of their history 0.83.

    Every value is a choice made for this project, none is estimated from a platform's data; the
    comments say what each does.
    """

    seed: int = 0

    # Size. About 1.1 M events, 40 train positives a user.
    users: int = 4_000
    videos: int = 30_000
    creators: int = 700
    days: int = 28
    start: int = _START

    # Videos.
    backlog_share: float = 0.7  # Uploaded before the log starts; the rest come evenly during it.
    backlog_days: int = 120
    zipf_exponent: float = 1.1  # Popularity of the video of rank r: r ** -zipf_exponent.
    taste_dim: int = 48
    # Shares of a video vector's squared length; what remains is the video's own.
    category_share: float = 0.3
    subtopic_share: float = 0.3
    creator_share: float = 0.32
    stray_share: float = 0.15  # Videos off their creator's usual subtopic.

    # Users.
    new_user_share: float = 0.1  # Those who sign up while the log runs.
    interests_min: int = 2  # An interest is the direction of one creator's videos.
    interests_max: int = 4
    user_residual: float = 0.1  # Length of the part of a taste that no interest explains.
    drift_max_degrees: float = 30.0  # Each taste turns by uniform(0, this) over the log.
    language_gap: float = 0.15
    demographic_weight: float = 1.0  # Spread of log interest between age and gender groups.

    # Sessions.
    sessions_per_day: float = 0.6
    activity_sigma: float = 0.5  # Log-normal spread of it over users.
    impressions_per_session: float = 8.0  # Geometric, cut at `session_max`.
    session_max: int = 40

    # Logging policy: each slot draws from one of three, never a video shown to the user before.
    popularity_probability: float = 0.3
    exploration_probability: float = 0.05
    exploration_share: float = 0.1  # Exploration is uniform over this newest share of videos.
    sharpness: float = 12.0  # By taste: weight = exp(sharpness * taste) ...
    taste_popularity_exponent: float = 0.3  # ... * popularity ** this * freshness.
    freshness_boost: float = 1.0  # Log weight that a video of age 0 gains ...
    freshness_days: float = 5.0  # ... times exp(-age / this).

    # Responses: logistic in taste, but for the watched part, whose logit is normal.
    position_bias: float = 0.2  # P(slot is looked at) = (position + 1) ** -position_bias.
    click_bias: float = -0.5
    click_taste: float = 4.0
    completion_bias: float = -1.0
    completion_taste: float = 4.0
    completion_duration: float = 0.4  # Longer videos are watched for a smaller part.
    completion_sigma: float = 1.2
    like_bias: float = -4.0
    like_taste: float = 4.0
    share_bias: float = -5.5
    share_taste: float = 4.0
    dislike_bias: float = -4.0
    report_bias: float = -7.0
    aversion_taste: float = -4.0  # Slope of dislikes and reports.
    quality_weight: float = 0.2  # Of the z-score of log popularity, in clicks and watched part.

    # Truth and files.
    truth_depth: int = 200  # Videos in each user's oracle list.
    format: LogFormat = LogFormat.PARQUET
    events_per_shard: int = 250_000

    def validate(self) -> None:
        """Checks every value.

        Raises:
            UserError: a value makes no sense; one line that names the field.
        """
        _require_at_least(self, 0, "seed")
        _require_at_least(
            self,
            1,
            "users",
            "creators",
            "days",
            "backlog_days",
            "taste_dim",
            "interests_min",
            "impressions_per_session",
            "session_max",
            "truth_depth",
            "events_per_shard",
        )
        _require_day_start(self.start)
        _require_share(
            self,
            "backlog_share",
            "category_share",
            "subtopic_share",
            "creator_share",
            "stray_share",
            "new_user_share",
            "popularity_probability",
            "exploration_probability",
            "exploration_share",
        )
        _require_at_least(
            self,
            0,
            "zipf_exponent",
            "user_residual",
            "drift_max_degrees",
            "language_gap",
            "demographic_weight",
            "activity_sigma",
            "taste_popularity_exponent",
            "freshness_boost",
            "position_bias",
            "quality_weight",
        )
        _require_above_0(
            self, "sessions_per_day", "sharpness", "freshness_days", "completion_sigma"
        )
        for field in dataclasses.fields(self):
            if field.name.endswith(("_bias", "_taste", "_duration")):
                value = getattr(self, field.name)
                if not math.isfinite(value):
                    _fail(field.name, value, "a finite number")
        if round(self.backlog_share * self.videos) < 2:
            _fail("videos", self.videos, "at least 2 uploaded before the log (backlog_share)")
        shares = self.category_share + self.subtopic_share + self.creator_share
        if shares > 1:
            _fail(
                "creator_share",
                self.creator_share,
                "category_share + subtopic_share + creator_share of at most 1",
            )
        if self.interests_max < self.interests_min:
            _fail("interests_max", self.interests_max, "at least interests_min")
        if self.popularity_probability + self.exploration_probability > 1:
            _fail(
                "exploration_probability",
                self.exploration_probability,
                "popularity_probability + exploration_probability of at most 1",
            )
        # Weights span about exp(2 * sharpness), which float32 must hold.
        if self.sharpness > 30:
            _fail("sharpness", self.sharpness, "a number of at most 30")


@dataclasses.dataclass(slots=True, kw_only=True)
class StreamRecSimulation:
    """The generator of the first StreamRec document, whose figures the defaults are.

    The document gives no times: the interactions come evenly over `days`.
    """

    seed: int = 0
    users: int = 50_000
    items: int = 20_000
    interactions: int = 500_000
    categories: int = 15
    profile_dim: int = 64
    content_dim: int = 96
    preferred_min: int = 2  # Categories that a user has a weight for.
    preferred_max: int = 4
    weight_min: float = 0.5  # The weights, uniform.
    weight_max: float = 2.0
    noise_scale: float = 0.5  # Of the Gumbel noise.
    start: int = _START
    days: int = 30
    format: LogFormat = LogFormat.PARQUET
    events_per_shard: int = 250_000

    def validate(self) -> None:
        """Checks every value.

        Raises:
            UserError: a value makes no sense; one line that names the field.
        """
        _require_at_least(self, 0, "seed", "preferred_min", "weight_min")
        _require_at_least(
            self,
            1,
            "users",
            "items",
            "interactions",
            "categories",
            "profile_dim",
            "content_dim",
            "days",
            "events_per_shard",
        )
        _require_above_0(self, "noise_scale")
        _require_day_start(self.start)
        if not self.preferred_min <= self.preferred_max <= self.categories:
            _fail("preferred_max", self.preferred_max, "from preferred_min to categories")
        if not self.weight_min <= self.weight_max < math.inf:
            _fail("weight_max", self.weight_max, "a number of at least weight_min")
