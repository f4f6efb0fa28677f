"""A training run of a second or two: likes of a few users, few features, narrow towers."""

import random
from pathlib import Path
from typing import Any

import pytest

from configs.kinds import Entity, Feature, HashedId, Sequence, Vocabulary
from configs.schema import Config, Loss, Model, Split, Train
from preprocessing.job import preprocess
from tests.quiet import QUIET
from tests.raw_logs import DAY_S, START, Row, config_of, small_data, write_tables

BATCH, STEPS_PER_EPOCH = 64, 6
WITHOUT_GRAPHS = [
    pytest.mark.usefixtures("without_graphs"),
    # Of tf.data, which traces its functions anyway.
    pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning"),
]
"""Marks of tests whose dozen steps take less than tracing one does."""


def tiny_config(**split: Any) -> Config:
    """Twelve steps of two epochs; `split` changes the split."""
    features: dict[str, Feature] = {
        "user_id": HashedId(column="user_id", num_buckets=50, dim=4),
        "history": Sequence(max_length=8, windows=(8, 1)),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, dim=8),
        "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=9, dim=4),
    }
    cut = Split(**({"validation_fraction": 0.7, "test_fraction": 0.85} | split))
    config = config_of(
        small_data(split=cut, repeats=True),  # or the small catalog would run out
        **features,
    )
    config.model = Model(embedding_dim=8, residual_width=8, residual_blocks=1, cross_layers=1)
    config.loss = Loss(uniform_negatives=8)
    # Items liked at random have nothing to be told apart by: they may look as alike as they like.
    config.train = Train(
        max_item_cosine=1.0,
        batch_size=BATCH,
        epochs=2,
        log_every_steps=2,
        checkpoint_every_steps=4,
        keep_checkpoints=2,
    )
    return config.validate()


def likes(*, users: int, videos: int, events: int, tied: bool) -> list[Row]:
    """Likes at random, each of another second; tied: many of one second, as in MovieLens."""
    draw = random.Random(7)
    return [
        {
            "event": "like",
            "user_id": f"u{draw.randrange(users)}",
            "video_id": f"v{draw.randrange(videos)}",
            "timestamp": START + (at // 100 * 100 if tied else at) * 10 * DAY_S // events,
        }
        for at in range(events)
    ]


def tiny_dataset(
    folder: Path,
    config: Config,
    *,
    users: int = 40,
    videos: int = 30,
    events: int = 615,
    tied: bool = False,
) -> Path:
    """Preprocesses such a log; returns the dataset."""
    catalog: list[Row] = [
        {"video_id": f"v{n}", "category": "abc"[n % 3], "upload_time": START - DAY_S}
        for n in range(videos)
    ]
    people: list[Row] = [{"user_id": f"u{n}"} for n in range(users)]
    tables = write_tables(
        folder / "logs",
        likes(users=users, videos=videos, events=events, tied=tied),
        catalog,
        people,
    )
    preprocess(config, tables=tables, output=folder / "dataset", display=QUIET)
    return folder / "dataset"
