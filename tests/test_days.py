"""Item statistics are of the row's day for each of its candidates, and of the split's for all."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.kinds import Count, Entity, Freshness, LogZScore
from configs.schema import Config, Protocol, SplitBy
from preprocessing.columns import NEGATIVE_ITEM
from preprocessing.job import preprocess
from serving import quality
from serving.quality import POPULARITY
from serving.verdict import CANDIDATE, LIVE, Verdict
from tests.fresh_model import new_model
from tests.quiet import QUIET
from tests.raw_logs import DAY_S, START, Row, write_tables
from tests.tiny_run import tiny_config
from trainer.candidates import candidates_of, sampling_of
from trainer.dataset import Dataset, load_queries, open_dataset
from trainer.items import ItemEncoder
from trainer.model import TwoTower
from trainer.recommenders import Towers
from trainer.records import parse_block

USERS, VIDEOS, LIKES = 40, 30, 900
SPLIT_DAY = {"validation": START // DAY_S + 7, "test": START // DAY_S + 8}
LAST_DAY = START // DAY_S + 9


def pairs(seed: int) -> list[Row]:
    """Every user with every video, in no order."""
    rows: list[Row] = [
        {"user_id": f"u{user}", "video_id": f"v{video}"}
        for user in range(USERS)
        for video in range(VIDEOS)
    ]
    return random.Random(seed).sample(rows, len(rows))


def log() -> list[Row]:
    """Ten days of likes, no pair twice, and of impressions of all pairs, before the like or not."""
    times = {"like": (pairs(5)[:LIKES], 960, 0), "impression": (pairs(6), 720, 7)}
    return [
        {**pair, "event": event, "timestamp": START + number * gap + offset}
        for event, (some, gap, offset) in times.items()
        for number, pair in enumerate(some)
    ]


def later(since: int) -> list[Row]:
    """More likes, from the first second of a split on, when its queries are asked."""
    days = range(since, LAST_DAY + 1)
    return [
        {**pair, "event": "like", "timestamp": days[at % len(days)] * DAY_S + at // len(days)}
        for at, pair in enumerate(pairs(5)[LIKES:])
    ]


@pytest.fixture(scope="module")
def config() -> Config:
    """The tiny run, cut by date, with two statistics of items and every kind of negative."""
    config = tiny_config(by=SplitBy.DATE, validation_date="2023-11-22", test_date="2023-11-23")
    for name, count in (("positives", Count()), ("positives_2d", Count(window_days=2))):
        config.features[name] = LogZScore(entity=Entity.ITEM, freshness=Freshness.DAY, count=count)
    config.loss.uniform_negatives, config.loss.impressed_negatives = 500, 3
    config.eval.protocols = (Protocol.WINDOW,)
    return config.validate()


def dataset_of(config: Config, events: list[Row], folder: Path) -> Dataset:
    catalog: list[Row] = [
        {"video_id": f"v{n}", "category": "abc"[n % 3], "upload_time": START - DAY_S}
        for n in range(VIDEOS)
    ]
    people: list[Row] = [{"user_id": f"u{n}"} for n in range(USERS)]
    tables = write_tables(folder / "logs", events, catalog, people)
    preprocess(config, tables=tables, output=folder / "dataset", display=QUIET)
    return open_dataset(folder / "dataset", config)


@pytest.fixture(scope="module")
def dataset(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset_of(config, log(), tmp_path_factory.mktemp("days"))


def positives(dataset: Dataset, item: np.ndarray, day: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of items as of the start of days, counted like by like."""
    place = {video: number for number, video in enumerate(dataset.catalog.video_id)}
    likes = [row for row in log() if row["event"] == "like"]
    of, at = np.array([(place[r["video_id"]], r["timestamp"]) for r in likes]).T
    start = day[:, np.newaxis] * DAY_S
    mine = (of == item[:, np.newaxis]) & (at < start)
    return {
        "positives": mine.sum(1),
        "positives_2d": (mine & (at >= start - 2 * DAY_S)).sum(1),
    }


def scaled(dataset: Dataset, counts: dict[str, np.ndarray]) -> np.ndarray:
    """As the item tower takes them: float [n, 2]."""
    of = dataset.assets.statistics
    columns = [(np.log1p(n) - of[name]["mean"]) / of[name]["std"] for name, n in counts.items()]
    return np.stack(columns, 1)


def one_batch(config: Config, dataset: Dataset, model: TwoTower) -> tuple[Any, dict[str, Any]]:
    """All train rows, and the batch that they make."""
    files = [str(dataset.root / file.name) for file in dataset.manifest.part("train")]
    records = tf.constant([record.numpy() for record in tf.data.TFRecordDataset(files)])
    rows = parse_block(records, dataset.spec.train_columns)
    sampling = sampling_of(config, dataset.spec, dataset.catalog)
    found = candidates_of(
        rows, dataset.spec.history_item_column, sampling, tf.constant([3, 4], tf.int64)
    )
    return rows, {**model.look_up(rows), **found}


def test_candidates_have_the_statistics_of_the_day_of_their_row(
    config: Config, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(config, dataset)
    rows, batch = one_batch(config, dataset, model)
    today = rows["timestamp"].numpy() // DAY_S
    assert (today < rows["label_time"].numpy() // DAY_S).sum() > 50  # shown, and liked days later
    asked: dict[tuple[int, int], list[float]] = {}
    daily = ItemEncoder.daily

    def listening(self: ItemEncoder, item: tf.Tensor, day: tf.Tensor, **more: Any) -> tf.Tensor:
        vectors = daily(self, item, day, **more)
        asked.update(zip(zip(item.numpy(), day.numpy(), strict=True), vectors.numpy(), strict=True))
        return vectors

    monkeypatch.setattr(ItemEncoder, "daily", listening)
    model.compute_loss(batch)

    item, day = np.array(list(asked)).T
    np.testing.assert_allclose(
        np.array(list(asked.values())),
        scaled(dataset, positives(dataset, item, day)),
        atol=1e-5,
    )
    columns = list(
        zip(batch["candidate_item"].numpy(), batch["candidate_day"].numpy(), strict=True)
    )
    assert columns == list(asked)
    own = [columns[at] for at in batch["positive_index"].numpy()]
    assert own == list(zip(rows["item"].numpy(), today, strict=True))
    impressed = 0
    for number, index in enumerate(batch["impressed_index"].numpy()):
        shown = rows[NEGATIVE_ITEM].numpy()[number, : len(index)]
        for at, video in zip(index[index >= 0], shown[index >= 0], strict=True):
            assert columns[at] == (video, today[number])
            impressed += 1
    assert impressed > 100
    # Others were drawn uniformly, as of the days of rows, each as often as it has rows.
    copies = batch["candidate_copies"].numpy()
    drawn = copies - np.bincount(batch["positive_index"].numpy(), minlength=len(copies))
    of_day = np.bincount(day[: len(copies)] - START // DAY_S, drawn, minlength=10)
    assert drawn.sum() == 500
    expected = np.bincount(today - START // DAY_S, minlength=10) * 500 / len(today)
    np.testing.assert_allclose(of_day, expected, atol=45)  # four standard deviations
    assert not of_day[expected == 0].any() and (expected > 20).sum() > 4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_at_a_split_sees_no_later_day(
    config: Config, dataset: Dataset, split: str, tmp_path: Path
) -> None:
    """Likes from a split's first second on move no item; they would move all as of a later day."""
    with_later = dataset_of(config, log() + later(SPLIT_DAY[split]), tmp_path)
    np.testing.assert_array_equal(dataset.catalog.video_id, with_later.catalog.video_id)
    model, grown = new_model(config, dataset), new_model(config, with_later)

    found = Towers(model, dataset, split=split).item_vectors

    assert found is not None
    size, day = dataset.catalog.size, SPLIT_DAY[split]
    np.testing.assert_array_equal(found, model.embed_catalog(size, day=day))
    assert not np.allclose(found, model.embed_catalog(size, day=day - 1))
    assert not np.allclose(found, model.embed_catalog(size, day=day + 1))
    np.testing.assert_array_equal(Towers(grown, with_later, split=split).item_vectors, found)
    assert not np.allclose(
        grown.embed_catalog(size, day=day + 1), model.embed_catalog(size, day=day + 1)
    )


def test_the_gate_compares_versions_as_of_the_split(
    config: Config, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def embed(version: Any, signature: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        asked[signature] = inputs
        return np.eye(len(next(iter(inputs.values()))), 4, dtype=np.float32)

    monkeypatch.setattr(quality, "embed", embed)
    found = quality.measure(config, dataset, {"candidate": None})  # type: ignore[dict-item]

    assert found.part == "queries/test/window" and found.queries > 20
    items, item = asked["embed_item"], np.arange(dataset.catalog.size)
    day = np.full(len(item), SPLIT_DAY["test"])
    np.testing.assert_array_equal(items["timestamp"], day * DAY_S)
    for name, counts in positives(dataset, item, day).items():
        np.testing.assert_array_equal(items[name], counts)
    assert set(asked["embed_user"]["timestamp"]) == {SPLIT_DAY["test"] * DAY_S}


@pytest.mark.parametrize(("exclude_seen", "longest"), [(True, 1), (False, 7)])
@pytest.mark.parametrize("k", [3, VIDEOS, 10 * VIDEOS])
def test_lists_that_the_gate_compares_can_miss_and_be_refused(
    config: Config,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    k: int,
    exclude_seen: bool,
    longest: int,
) -> None:
    """However long the exported lists are, and though most users have seen all but 3 of 30."""
    config = copy.deepcopy(config)
    config.export.k, config.eval.exclude_seen = k, exclude_seen
    queries = load_queries(dataset, "queries/test/window").queries
    queries = queries.take(np.flatnonzero(queries.relevant.lengths))
    size = dataset.catalog.size
    likes = np.zeros((len(queries), size), np.float32)
    likes[queries.relevant.row_of_value, queries.relevant.values] = 1.0
    left = [size - 1 - len(set(queries.seen.row(row))) for row in range(len(queries))]
    assert np.median(left) == 3

    def embed(version: Any, signature: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Versions that know what is liked (1), nothing (0), or all but that (-1)."""
        return np.eye(size, dtype=np.float32) if signature == "embed_item" else version * likes

    monkeypatch.setattr(quality, "embed", embed)

    def verdict_of(candidate: int, live: int) -> tuple[quality.Quality, Verdict]:
        versions = {CANDIDATE: candidate, LIVE: live}
        found = quality.measure(config, dataset, versions)  # type: ignore[arg-type]
        verdict = Verdict()
        verdict.quality(found, margin=0.1)
        return found, verdict

    found, verdict = verdict_of(1, 0)
    assert found.queries == len(queries) and found.k == min(k, longest)
    assert found.recall[CANDIDATE] > found.recall[LIVE] and not verdict.problems
    assert 0 < found.recall[LIVE] < 1 and 0 < found.recall[POPULARITY] < 1
    found, verdict = verdict_of(-1, 1)
    assert found.recall[CANDIDATE] < found.recall[POPULARITY]
    worse_than_popular, worse_than_live = verdict.problems
    assert worse_than_popular.startswith(f"quality: found Recall@{found.k} ")
    assert "popularity's" in worse_than_popular and "the live version's" in worse_than_live
