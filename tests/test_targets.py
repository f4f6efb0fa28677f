"""Targets: the next label, or a random one of the user's next few."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY
from tests.decoded import run
from tests.fresh_model import new_model
from tests.raw_logs import DAY_S, START, Row, write_tables
from tests.tiny_run import tiny_config, tiny_dataset
from trainer.candidates import sampling_of
from trainer.dataset import Dataset, load_interactions, open_dataset
from trainer.input import train_batches
from trainer.targets import NextTargets, shares_of

WINDOW, DRAWS = 3, 400


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config()


@pytest.fixture(scope="module")
def dataset(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tiny_dataset(tmp_path_factory.mktemp("tiny"), config, tied=True)
    return open_dataset(root, config)


def all_rows(dataset: Dataset) -> dict[str, np.ndarray]:
    """Every train label as a row, in (user, order)."""
    labels = load_interactions(dataset, ["train"])
    users = pq.read_table(dataset.root / dataset.manifest.part("users")[0].name)["user_id"]
    return {
        "user_id": np.array([u.encode() for u in users.to_pylist()])[labels.user],
        "item": labels.item,
        "label_time": labels.time,
        "user": labels.user,
    }


def test_targets_are_the_next_labels_each_as_often(dataset: Dataset) -> None:
    rows = all_rows(dataset)
    count = len(rows["item"])
    ties = (np.diff(rows["label_time"]) == 0) & (np.diff(rows["user"]) == 0)
    assert ties.sum() > 10
    targets = NextTargets(dataset, WINDOW)
    batch = {n: tf.constant(v) for n, v in rows.items()}
    draw = tf.function(lambda seed: targets(batch, tf.stack([seed, seed + 1])))
    found = np.stack([draw(tf.constant(seed, tf.int64)).numpy() for seed in range(DRAWS)])
    last = np.searchsorted(rows["user"], rows["user"], side="right")
    for row in range(count):
        window = rows["item"][row : min(row + WINDOW, last[row])]
        items, times = np.unique(found[:, row], return_counts=True)
        assert set(items) == set(window)
        for item, drawn in zip(items, times, strict=True):
            share = (window == item).mean()
            assert abs(drawn / DRAWS - share) < 5 * np.sqrt(0.25 / DRAWS)
    # The shares that the correction is told are those of the targets, not of the labels.
    mean = np.bincount(found.ravel(), minlength=dataset.catalog.size) / DRAWS
    np.testing.assert_allclose(targets.count.sum(), count)
    np.testing.assert_allclose(targets.count, mean, atol=5 * np.sqrt(count / 30 / DRAWS))
    assert np.abs(targets.count - dataset.catalog.train_count).max() > 1
    # And by the day of the row.
    days, items, often = targets.by_day
    by_day = np.zeros((days.max() + 1, dataset.catalog.size))
    for draw in found:
        np.add.at(by_day, (rows["label_time"] // SECONDS_PER_DAY, draw), 1 / DRAWS)
    expected = np.zeros_like(by_day)
    expected[days, items] = often
    np.testing.assert_allclose(by_day, expected, atol=5 * np.sqrt(count / 30 / DRAWS))
    np.testing.assert_allclose(by_day.sum(1), expected.sum(1))


def test_a_window_of_one_is_the_label(dataset: Dataset) -> None:
    rows = all_rows(dataset)
    targets = NextTargets(dataset, 1)
    batch = {n: tf.constant(v) for n, v in rows.items()}
    np.testing.assert_array_equal(targets(batch, tf.constant([1, 2], tf.int64)), rows["item"])
    np.testing.assert_allclose(targets.count, dataset.catalog.train_count)


def test_an_item_uploaded_later_is_no_target(dataset: Dataset) -> None:
    rows = all_rows(dataset)
    upload_time = dataset.catalog.upload_time
    middle = int(np.median(rows["label_time"]))
    late = 5
    before = upload_time[late]
    upload_time[late] = middle
    try:
        targets = NextTargets(dataset, WINDOW)
    finally:
        upload_time[late] = before
    batch = {n: tf.constant(v) for n, v in rows.items()}
    others = rows["item"] != late
    early = rows["label_time"] < middle
    found = [targets(batch, tf.constant([s, 0], tf.int64)).numpy() for s in range(50)]
    assert not any((each == late)[early & others].any() for each in found)
    assert any((each == late)[~early & others].any() for each in found)


def test_batches_take_their_positives_from_the_targets(config: Config, dataset: Dataset) -> None:
    model = new_model(config, dataset)
    targets = NextTargets(dataset, WINDOW)

    def positives(targets: NextTargets | None) -> np.ndarray:
        sampling = sampling_of(
            config,
            dataset.spec,
            dataset.catalog,
            shares=shares_of(config, dataset, targets),
        )
        batches = train_batches(
            dataset,
            config=config,
            sampling=sampling,
            look_up=model.look_up,
            targets=targets,
            epoch=0,
        )
        return np.concatenate(
            [b["candidate_item"].numpy()[b["positive_index"].numpy()] for b in batches]
        )

    own, drawn, again = positives(None), positives(targets), positives(targets)
    np.testing.assert_array_equal(drawn, again)
    # A third stay, less what happens to be the same item.
    assert 0.25 < (own == drawn).mean() < 0.5


def test_shares_are_by_the_day_of_the_row_and_not_of_its_label(
    config: Config, tmp_path: Path
) -> None:
    """Shown late at night and liked after midnight: the row is of the day before its label."""
    draw = random.Random(3)
    events: list[Row] = []
    for _ in range(600):
        user, video = f"u{draw.randrange(40)}", f"v{draw.randrange(30)}"
        shown = START + draw.randrange(1, 9) * DAY_S - draw.randrange(1, 4)
        for event, after in (("impression", 0), ("like", draw.choice([0, 3, DAY_S]))):
            row = {"user_id": user, "video_id": video, "timestamp": shown + after}
            events.append({"event": event, **row})
    videos = [{"video_id": f"v{n}", "category": "a", "upload_time": START} for n in range(30)]
    users = [{"user_id": f"u{n}"} for n in range(40)]
    rows = run(config, write_tables(tmp_path / "logs", events, videos, users), tmp_path / "dataset")
    dataset = open_dataset(rows.root, config)
    found = rows.rows("train")
    late = np.mean([row["label_time"] // SECONDS_PER_DAY > row["day"] for row in found])
    assert 0.3 < late < 0.9
    number = {video: n for n, video in enumerate(dataset.catalog.video_id)}
    day = np.array([row["day"] for row in found])
    item = np.array([number[row["item"]] for row in found])

    near = replace(config, train=replace(config.train, batch_days=1.0))
    targets = NextTargets(dataset, 1)
    for shares in (shares_of(near, dataset), shares_of(near, dataset, targets)):
        for days in ([day.min()], [day.max()], [day.min() + 1, day.min() + 3]):
            inside = (day >= days[0]) & (day <= days[-1])
            expected = np.bincount(item[inside], minlength=dataset.catalog.size) / inside.sum()
            asked = tf.range(dataset.catalog.size, dtype=tf.int64)
            np.testing.assert_allclose(
                shares(asked, tf.constant(days, tf.int64)), expected, rtol=1e-5
            )
