"""Vectors to index: an item tower's over a simulated catalog, and those of the users who ask."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks.ann_peers import FloatArray
from configs import default
from configs.errors import UserError
from configs.simulation import ShortVideoSimulation
from preprocessing.job import preprocess
from preprocessing.simulate import simulate, tables_in
from preprocessing.simulation.catalog import make_catalog
from preprocessing.simulation.output import names, write_table
from preprocessing.simulation.short_video import video_columns
from serving.offline import embed_requests
from serving.requests import build_request, load_states
from trainer.restore import restore_run
from trainer.train import train_and_evaluate

_VIDEOS_PER_CREATOR = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """What is indexed and who asks.

    Attributes:
        items: float32 [items, dim], unit vectors.
        tuning: float32 [t, dim], of the users by whom settings are chosen.
        fresh: float32 [f, dim], of the other users: those whom the figures are about.
    """

    items: FloatArray
    tuning: FloatArray
    fresh: FloatArray


def vectors(root: Path, *, items: int, tuning_users: int, console: Console) -> Vectors:
    """Trains the default towers on a simulated log for an epoch, and embeds catalog and users.

    The log is the default one; videos beyond those it is about are drawn in the same way and were
    met by nobody, as most of a large catalog. Stages are kept below `root`; those that are there
    are not made again.

    Args:
        root: of one number of items.
        items: videos of the catalog.
        tuning_users: how many of the log's users choose the settings, the same ones each time.
        console: for progress.

    Raises:
        UserError: the log has no users beyond `tuning_users`.
    """
    item_path, user_path = root / "items.npy", root / f"users-{tuning_users}.npz"
    if not (item_path.exists() and user_path.exists()):
        _make(root, item_path, user_path, items=items, tuning_users=tuning_users, console=console)
    users = np.load(user_path)
    return Vectors(items=np.load(item_path), tuning=users["tuning"], fresh=users["fresh"])


def _make(
    root: Path,
    item_path: Path,
    user_path: Path,
    *,
    items: int,
    tuning_users: int,
    console: Console,
) -> None:
    config = default.get_config()
    simulation = config.simulation
    assert isinstance(simulation, ShortVideoSimulation)
    if simulation.users <= tuning_users:
        raise UserError(
            f"--tuning_users: found {tuning_users:,}, expected less than the {simulation.users:,} "
            "users of the simulated log"
        )
    simulation.videos = min(items, simulation.videos)
    config.train.epochs, config.eval.protocols = 1, ()
    config.validate()
    logs, dataset_dir, run = root / "logs", root / "dataset", root / "run"
    if not (dataset_dir / "manifest.json").exists():
        if not logs.exists():
            simulate(simulation, output=str(logs), display=console, split=config.data.split)
        _write_videos(root / "videos", logs, simulation, items=items)
        tables = tables_in(logs) | {"videos": str(root / "videos")}
        preprocess(config, tables=tables, output=dataset_dir, display=console)
    if not (run / "metrics.json").exists():
        train_and_evaluate(config, dataset_dir, run, console=console)
    _, dataset, model, _ = restore_run(run)
    console.print(f"embedding {dataset.catalog.size - 1:,} items")
    day = dataset.manifest.splits.last_day
    everybody = load_states(dataset.root, dataset.manifest, dataset.spec)
    tuning = load_states(dataset.root, dataset.manifest, dataset.spec, sample=tuning_users)
    is_tuning = np.isin(everybody.user_id, tuning.user_id)
    users = embed_requests(model, dataset, build_request(dataset.spec, everybody))
    np.savez(user_path, tuning=users[is_tuning], fresh=users[~is_tuning])
    np.save(item_path, model.embed_catalog(dataset.catalog.size, day=day)[1:])


def _write_videos(
    directory: Path, logs: Path, simulation: ShortVideoSimulation, *, items: int
) -> None:
    """The log's videos, and a tail drawn in the same way that nobody has met yet."""
    directory.mkdir(exist_ok=True)
    shutil.copy(logs / "videos.parquet", directory / "met.parquet")
    tail = dataclasses.replace(
        simulation,
        videos=items - simulation.videos,
        creators=max(simulation.creators, items // _VIDEOS_PER_CREATOR),
    )
    if tail.videos:
        rng = np.random.default_rng(1)
        columns = video_columns(tail, make_catalog(tail, rng), rng)
        table = pa.table({"video_id": names("tail", tail.videos), **columns})
        write_table(table, directory / "tail", tail.format)
