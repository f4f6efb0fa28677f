"""What TensorBoard shows of a run: curves, settings, and items in the Embedding Projector."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hp

from configs.schema import Config
from configs.serialization import KIND, to_dict
from preprocessing.columns import DType
from preprocessing.features import FeatureSpec
from trainer.catalog import Catalog
from trainer.dataset import Dataset
from trainer.model import TwoTower

METADATA = "items.tsv"
"""Beside the items' checkpoint in TensorBoard's directory: a line for each row of `VECTORS`."""

VECTORS = "items/.ATTRIBUTES/VARIABLE_VALUE"
"""Name of the tensor with the items' vectors in that checkpoint: float32 [items, dim]."""

_HPARAM_PARTS = ("model", "loss", "train")
_MONITORED_ITEMS = 256
_TITLE_CHARS = 120


def open_board(directory: Path, config: Config) -> tf.summary.SummaryWriter:
    """A writer of the run's summaries, its hyperparameters already written.

    They are the model's, the loss's and the optimisation's settings, by their path in the config.
    No list of them is declared beside: TensorBoard then works out from the runs themselves which
    of them differ, and takes every scalar for a metric to sort runs by.
    """
    writer = tf.summary.create_file_writer(str(directory))
    if config.tensorboard.hparams:
        with writer.as_default():
            hp.hparams(hyperparameters(config))
    return writer


def close_board(
    writer: tf.summary.SummaryWriter,
    directory: Path,
    dataset: Dataset,
    model: TwoTower,
    metrics: Mapping[str, Any],
    *,
    step: int,
) -> None:
    """Writes what is known at the end: the test metrics, and items for the Embedding Projector."""
    with writer.as_default():
        _log_metrics(metrics, split="test", step=step)
    writer.close()
    write_projector(directory, dataset, model)


def hyperparameters(config: Config) -> dict[str, bool | int | float | str]:
    """Settings by path, `train.batch_size`; what is no number or switch is text."""
    return {
        path: value if isinstance(value, bool | int | float | str) else str(value)
        for part in _HPARAM_PARTS
        for path, value in _leaves(to_dict(getattr(config, part)), part)
    }


def _leaves(body: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(body, dict):
        return [(path, body)]
    return [
        leaf
        for name, value in body.items()
        if name != KIND
        for leaf in _leaves(value, f"{path}.{name}")
    ]


def log_monitors(model: TwoTower, step: int, *, day: int) -> None:
    """Writes what shows that embeddings collapse, before the mean cosine does.

    Args:
        model: as it is now.
        step: optimisation steps so far.
        day: whose start the items are looked at.
    """
    if not model.config.tensorboard.monitors:
        return
    ids = np.linspace(1, model.num_known, min(_MONITORED_ITEMS, model.num_known))
    items = tf.constant(ids.astype(np.int64))
    days = tf.fill([len(ids)], tf.constant(day, tf.int64))
    vectors = model.embed_items(items, days).numpy()
    tf.summary.scalar("train/item_uniformity", uniformity(vectors), step)
    tf.summary.scalar("train/item_effective_rank", effective_rank(vectors), step)


def uniformity(vectors: npt.NDArray[np.float32]) -> float:
    """How evenly unit vectors [n, dim] lie on the sphere: 0 if all are one, lower is more even.

    Source: T. Wang, P. Isola, Understanding Contrastive Representation Learning through Alignment
    and Uniformity on the Hypersphere, ICML 2020: log of the mean of exp(-2 ‖x - y‖²) over pairs.
    """
    count = len(vectors)
    if count < 2:
        return 0.0
    squared = 2.0 - 2.0 * (vectors @ vectors.T).astype(np.float64)
    pairs = np.exp(-2.0 * squared[~np.eye(count, dtype=bool)])
    return float(np.log(pairs.mean()))


def effective_rank(vectors: npt.NDArray[np.float32]) -> float:
    """How many dimensions vectors [n, dim] make use of, from 1 to min(n, dim).

    It falls when dimensions collapse, which the mean cosine does not show.

    Source: O. Roy, M. Vetterli, The Effective Rank, EUSIPCO 2007: exp of the entropy of the
    singular values, normalised to sum 1.
    """
    values = np.linalg.svd(vectors.astype(np.float64), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _log_metrics(metrics: Mapping[str, Any], *, split: str, step: int) -> None:
    """Writes the model's metrics of a split, `test/window/HR@10`, to the default writer."""
    for protocol, found in metrics["protocols"].items():
        for name, value in found["models"]["streamrec"].items():
            if isinstance(value, float):
                tf.summary.scalar(f"{split}/{protocol}/{name}", value, step)


def write_projector(directory: Path, dataset: Dataset, model: TwoTower) -> None:
    """Writes the vectors of the most popular items, and their titles, for the Embedding Projector.

    Items are as of the last day of the log. Files are a checkpoint, `items.tsv` and
    `projector_config.pbtxt`, the last to be written, all found by their place in the directory.

    Args:
        directory: that TensorBoard reads.
        dataset: whose items.
        model: what embeds them; its config's `tensorboard.projector_items` says how many, 0 writes
            nothing.
    """
    catalog = dataset.catalog
    known = 1 + np.argsort(-catalog.train_count[1:], kind="stable")
    items = known[: model.config.tensorboard.projector_items]
    if not len(items):
        return
    vectors = model.embed_catalog(catalog.size, day=dataset.manifest.splits.last_day)[items]
    (directory / METADATA).write_text(
        "".join(projector_lines(catalog, dataset.spec, items)), encoding="utf-8"
    )
    tf.train.Checkpoint(items=tf.Variable(vectors)).save(str(directory / "items"))
    shown = projector.ProjectorConfig()
    embedding = shown.embeddings.add()
    embedding.tensor_name, embedding.metadata_path = VECTORS, METADATA
    projector.visualize_embeddings(str(directory), shown)


def projector_lines(catalog: Catalog, spec: FeatureSpec, items: npt.NDArray[np.int64]) -> list[str]:
    """A header, and a line for each item: title, id, train rows and its scalar strings."""
    named = [
        column.name
        for column in spec.catalog_columns
        if column.dtype is DType.BYTES
        and not column.is_ragged
        and column.length is None
        and column.name not in ("title", "video_id")
    ]
    columns = ["title", "video_id", "train_count", *named]
    lines = ["\t".join(columns) + "\n"]
    for item in items:
        cells = [str(catalog.columns[name][item]) for name in columns]
        # A title with a tab or a line break would shift every line after it.
        cells = [" ".join(cell.split())[:_TITLE_CHARS] for cell in cells]
        cells[0] = cells[0] or cells[1]
        lines.append("\t".join(cells) + "\n")
    return lines
