"""A run that starts from an earlier one, on a dataset that continues the earlier one's."""

import copy
import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from rich.console import Console

from configs.baselines import BaselineKind
from configs.errors import UserError
from configs.kinds import Sequence
from configs.schema import Config, Protocol
from preprocessing.job import preprocess
from preprocessing.simulate import tables_in
from tests.fresh_model import batches_of, new_model
from tests.quiet import QUIET
from trainer import warm_start
from trainer.dataset import Dataset, load_queries, open_dataset, query_batches
from trainer.model import TwoTower
from trainer.restore import restore_run
from trainer.train import train_and_evaluate
from trainer.warm_start import init_from

NEW_VIDEOS = 5


@pytest.fixture(scope="module")
def grown_logs(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs, and before the end of train new videos, users, categories and devices."""
    grown = tmp_path_factory.mktemp("grown")
    shutil.copytree(logs, grown, dirs_exist_ok=True)
    videos = pl.read_parquet(grown / "videos.parquet")
    new = videos[:NEW_VIDEOS].with_columns(
        video_id=pl.concat_str(pl.lit("new-"), "video_id"),
        category=pl.lit("a new category"),
        language=pl.lit("xx"),
    )
    pl.concat([videos, new]).write_parquet(grown / "videos.parquet")
    users = pl.read_parquet(grown / "users.parquet")
    more = users[:8].with_columns(
        user_id=pl.concat_str(pl.lit("new-"), "user_id"),
        country=pl.lit("xx"),
        gender=pl.lit("a new gender"),
    )
    pl.concat([users, more]).write_parquet(grown / "users.parquet")
    events = pl.concat([pl.read_parquet(p) for p in sorted((grown / "events").rglob("*.parquet"))])
    times = events["timestamp"].sort()
    like = events.sort("timestamp")[:1]
    rows = [
        like.with_columns(
            event=pl.lit("like"),
            user_id=pl.lit(user),
            video_id=pl.lit(video),
            device=pl.lit("a new device"),
            timestamp=pl.lit(times[len(times) // 2] + place).cast(times.dtype),
            watch_sec=pl.lit(None).cast(events["watch_sec"].dtype),
        )
        for place, (user, video) in enumerate(
            (user, video) for user in more["user_id"] for video in new["video_id"]
        )
    ]
    pl.concat(rows).write_parquet(grown / "events" / "grown.parquet")
    return grown


@pytest.fixture(scope="module")
def continued(
    config: Config, grown_logs: Path, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Dataset:
    output = tmp_path_factory.mktemp("continued") / "dataset"
    preprocess(
        config, tables=tables_in(grown_logs), output=output, previous=dataset_dir, display=QUIET
    )
    return open_dataset(output, config)


@pytest.fixture(scope="module")
def warm(config: Config, continued: Dataset, workdir: Path) -> TwoTower:
    model = new_model(config, continued)
    init_from(workdir, config, continued, model)
    return model


def test_the_grown_model_says_what_the_earlier_one_said(
    warm: TwoTower, continued: Dataset, workdir: Path
) -> None:
    _, earlier, source, _ = restore_run(workdir)
    for name in ("category", "gender", "device", "country"):
        assert len(continued.assets.vocabularies[name]) > len(earlier.assets.vocabularies[name])
    assert_equal_answers(source, earlier, warm, continued)


def assert_equal_answers(
    source: TwoTower, earlier: Dataset, warm: TwoTower, continued: Dataset
) -> None:
    """Vectors of all items of the earlier dataset, and of users who ask, histories renumbered."""
    old, new = earlier.catalog, continued.catalog
    assert new.vocabulary_size > old.vocabulary_size and new.size == old.size + NEW_VIDEOS
    place = {video: number for number, video in enumerate(new.video_id)}
    moved = np.array([place[video] for video in old.video_id])
    assert (moved[: old.vocabulary_size + 1] == np.arange(old.vocabulary_size + 1)).all()

    day = earlier.manifest.splits.start_time // 86_400 + 1
    items = [
        model.embed_items(tf.constant(ids), tf.fill([len(ids)], tf.constant(day, tf.int64)))
        for model, ids in ((source, np.arange(1, old.size)), (warm, moved[1:]))
    ]
    np.testing.assert_allclose(items[1], items[0], atol=2e-5)

    asked = load_queries(earlier, "queries/test/window")
    rows, history = next(iter(query_batches(asked, earlier.spec, 64)))
    assert int(tf.reduce_sum(tf.cast(history > 0, tf.int32))) > 64
    renamed = tf.where(history >= 0, tf.gather(moved, tf.maximum(history, 0)), history)
    np.testing.assert_allclose(
        warm.embed_users(warm.look_up(rows), renamed),
        source.embed_users(source.look_up(rows), history),
        atol=2e-5,
    )


def test_a_history_that_fades_with_age_has_more_means_to_grow(
    config: Config, dataset_dir: Path, continued: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fading = copy.deepcopy(config)
    history = fading.features["history"]
    assert isinstance(history, Sequence)
    history.half_lives_days = (2.0, 30.0)
    earlier, later = (open_dataset(root, fading) for root in (dataset_dir, continued.root))
    source, grown = new_model(fading, earlier), new_model(fading, later)
    run = fading, earlier, source, 0
    monkeypatch.setattr(warm_start, "restore_run", lambda workdir, *, flag: run)
    init_from(Path("run"), fading, later, grown)
    assert_equal_answers(source, earlier, grown, later)


def test_new_values_begin_as_what_was_out_of_vocabulary(warm: TwoTower, workdir: Path) -> None:
    _, earlier, source, _ = restore_run(workdir)
    size = earlier.catalog.vocabulary_size + 1
    table = warm.items.item_id.table.numpy()
    np.testing.assert_array_equal(table[:size], source.items.item_id.table.numpy())
    assert len(table) > size
    np.testing.assert_array_equal(table[size:], np.tile(table[0], (len(table) - size, 1)))


def test_training_goes_on_from_there(
    config: Config, continued: Dataset, warm: TwoTower, workdir: Path, tmp_path: Path
) -> None:
    def first_loss(model: TwoTower) -> float:
        batch = next(iter(batches_of(config, continued, model)))
        return float(model.compute_loss(batch))

    assert first_loss(warm) < first_loss(new_model(config, continued)) - 0.1

    shorter = copy.deepcopy(config)
    shorter.train.epochs, shorter.train.validate_every_epochs = 1, 0
    shorter.eval.protocols, shorter.eval.bootstrap_samples = (Protocol.WINDOW,), 0
    shorter.eval.baselines.kinds = (BaselineKind.POPULARITY,)
    said = io.StringIO()
    result = train_and_evaluate(
        shorter, continued.root, tmp_path / "run",
        console=Console(file=said, width=200), initial_run=workdir,
    )  # fmt: skip
    assert f"from {workdir} as of its step" in said.getvalue().replace("\n", "")
    assert result.steps > 0
    _, _, trained, _ = restore_run(tmp_path / "run")
    before, after = (model.items.item_id.table.numpy() for model in (warm, trained))
    assert not np.array_equal(before, after)
    size = continued.catalog.vocabulary_size + 1
    assert not np.array_equal(after[size - 1], after[0])  # new rows go their own ways


def test_a_dataset_that_does_not_continue_the_earlier_one_is_refused(
    config: Config, grown_logs: Path, workdir: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    preprocess(config, tables=tables_in(grown_logs), output=alone, display=QUIET)
    dataset = open_dataset(alone, config)
    with pytest.raises(
        UserError, match=r"^--init_from=.*found other .*expected a dataset made with"
    ):
        init_from(workdir, config, dataset, new_model(config, dataset))
    with pytest.raises(UserError, match=r"^--init_from=.*found no run\.json"):
        init_from(tmp_path, config, dataset, new_model(config, dataset))
    wider = copy.deepcopy(config)
    wider.model.residual_width *= 2
    with pytest.raises(UserError, match=r"another model: config\.model\.residual_width: found 32"):
        init_from(workdir, wider, dataset, new_model(wider, dataset))
