"""The simulated videos: who made them, what they are about, how popular and how long they are."""

import dataclasses

import numpy as np

from configs.simulation import ShortVideoSimulation
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.simulation import topics
from preprocessing.simulation.arrays import Doubles, Floats, Ints

LANGUAGES: tuple[str, ...] = ("en", "es", "hi", "pt", "fr", "de")
LANGUAGE_SHARES: tuple[float, ...] = (0.5, 0.16, 0.12, 0.09, 0.07, 0.06)

_MEDIAN_DURATION_S = 28.0
_DURATION_SIGMA = 0.6
_DURATION_RANGE_S = (5.0, 180.0)
_TAGS_PER_VIDEO = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Creators:
    """Who uploads.

    Attributes:
        subtopic: [num_creators] int64, index into `topics.SUBTOPICS`.
        language: [num_creators] int64, index into `LANGUAGES`.
        own: [num_creators, taste_dim] float32, the creator's own direction, length about 1.
        share: [num_creators] float64, the share of videos each uploads; sums to 1.
    """

    subtopic: Ints
    language: Ints
    own: Floats
    share: Doubles


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The videos in upload order, so that what is up by some time is a prefix.

    Attributes:
        creators: who uploads.
        vectors: [num_videos, taste_dim] float32, length about 1.
        creator: [num_videos] int64, index into `creators`.
        subtopic: [num_videos] int64, index into `topics.SUBTOPICS`.
        language: [num_videos] int64, index into `LANGUAGES`.
        upload_time: [num_videos] int64, UTC seconds, increasing.
        duration_s: [num_videos] float64.
        log_duration: [num_videos] float64, log(duration / the median duration).
        log_popularity: [num_videos] float64, log of the Zipf weight, which is at most 1.
        quality: [num_videos] float64, the z-score of `log_popularity`.
        category_vectors: [num_categories, taste_dim] float32.
        subtopic_vectors: [num_subtopics, taste_dim] float32.
    """

    creators: Creators
    vectors: Floats
    creator: Ints
    subtopic: Ints
    language: Ints
    upload_time: Ints
    duration_s: Doubles
    log_duration: Doubles
    log_popularity: Doubles
    quality: Doubles
    category_vectors: Floats
    subtopic_vectors: Floats


def directions(rng: np.random.Generator, count: int, dim: int) -> Floats:
    """Random vectors, [count, dim] float32, of expected squared length 1."""
    return rng.standard_normal((count, dim), dtype=np.float32) / np.float32(np.sqrt(dim))


def category_of(subtopic: Ints) -> Ints:
    """The category that each subtopic belongs to."""
    return subtopic // topics.SUBTOPICS_PER_CATEGORY


def make_catalog(config: ShortVideoSimulation, rng: np.random.Generator) -> Catalog:
    """Draws creators and videos."""
    dim = config.taste_dim
    category_vectors = directions(rng, len(topics.CATEGORIES), dim)
    subtopic_vectors = directions(rng, len(topics.SUBTOPICS), dim)
    creators = _make_creators(config, rng)

    creator = rng.choice(config.creators, size=config.videos, p=creators.share)
    strays = rng.random(config.videos) < config.stray_share
    subtopic = np.where(
        strays,
        rng.integers(len(topics.SUBTOPICS), size=config.videos),
        creators.subtopic[creator],
    )
    own_share = 1 - config.category_share - config.subtopic_share - config.creator_share
    vectors = (
        np.float32(np.sqrt(config.category_share)) * category_vectors[category_of(subtopic)]
        + np.float32(np.sqrt(config.subtopic_share)) * subtopic_vectors[subtopic]
        + np.float32(np.sqrt(config.creator_share)) * creators.own[creator]
        + np.float32(np.sqrt(own_share)) * directions(rng, config.videos, dim)
    )
    rank = 1 + rng.permutation(config.videos)
    log_popularity = -config.zipf_exponent * np.log(rank)
    duration_s = np.clip(
        _MEDIAN_DURATION_S * np.exp(_DURATION_SIGMA * rng.standard_normal(config.videos)),
        *_DURATION_RANGE_S,
    ).round(1)
    return Catalog(
        creators=creators,
        vectors=vectors,
        creator=creator,
        subtopic=subtopic,
        language=creators.language[creator],
        upload_time=_upload_times(config, rng),
        duration_s=duration_s,
        log_duration=np.log(duration_s / _MEDIAN_DURATION_S),
        log_popularity=log_popularity,
        quality=(log_popularity - log_popularity.mean()) / log_popularity.std(),
        category_vectors=category_vectors,
        subtopic_vectors=subtopic_vectors,
    )


def _make_creators(config: ShortVideoSimulation, rng: np.random.Generator) -> Creators:
    output = rng.lognormal(sigma=0.8, size=config.creators)
    return Creators(
        subtopic=rng.integers(len(topics.SUBTOPICS), size=config.creators),
        language=rng.choice(len(LANGUAGES), size=config.creators, p=LANGUAGE_SHARES),
        own=directions(rng, config.creators, config.taste_dim),
        share=output / output.sum(),
    )


def _upload_times(config: ShortVideoSimulation, rng: np.random.Generator) -> Ints:
    backlog = round(config.backlog_share * config.videos)
    before = config.start - rng.integers(1, config.backlog_days * SECONDS_PER_DAY, size=backlog)
    during = config.start + rng.integers(
        config.days * SECONDS_PER_DAY, size=config.videos - backlog
    )
    return np.sort(np.concatenate([before, during]))


def make_titles_and_tags(
    catalog: Catalog, rng: np.random.Generator
) -> tuple[list[str], list[list[str]]]:
    """Titles of four to six words, three or four of them from the subtopic; and tags."""
    count = len(catalog.creator)
    filler = rng.integers(len(topics.FILLERS), size=(count, 2))
    word_order = rng.permuted(np.tile(np.arange(topics.WORDS_PER_SUBTOPIC), (count, 1)), axis=1)
    pattern = rng.integers(4, size=count)
    common = rng.integers(len(topics.COMMON_TAGS), size=count)
    tag_count = rng.integers(1, _TAGS_PER_VIDEO + 1, size=count)
    titles, tags = [], []
    for video in range(count):
        subtopic = int(catalog.subtopic[video])
        vocabulary = topics.WORDS[subtopic]
        words = [vocabulary[i] for i in word_order[video]]
        first, second = (topics.FILLERS[i] for i in filler[video])
        titles.append(
            (
                f"{first} {words[0]} {words[1]} {words[2]}",
                f"{words[0]} {words[1]} {second} {words[2]}",
                f"{first} {words[0]} {words[1]} {words[2]} {second} {words[3]}",
                f"{words[0]} {words[1]} {words[2]} {first} {second}",
            )[pattern[video]]
        )
        choices = (topics.SUBTOPICS[subtopic][1], words[0], words[4], words[1])
        tags.append([*choices[: tag_count[video]], topics.COMMON_TAGS[common[video]]])
    return titles, tags
