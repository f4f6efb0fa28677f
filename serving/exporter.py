"""From a trained run to a published version: one SavedModel with user tower and index."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console

from configs.errors import UserError
from configs.schema import Config, Index
from serving.exported import ExportedModel
from serving.index import Tuning, build, mean_overlap
from serving.offline import catalog_ids, embed_requests, tensors
from serving.publish import building, next_version
from serving.requests import Request, build_request, load_states
from serving.warmup_records import write_warmup
from trainer.dataset import Dataset
from trainer.restore import restore_run

REPORT = "assets.extra/export.json"
_TUNING_USERS = 1_000


def export(
    workdir: Path,
    output: Path,
    *,
    dataset_dir: Path | None = None,
    version: int | None = None,
    console: Console,
) -> dict[str, Any]:
    """Exports the newest checkpoint of a run and publishes it as a version.

    Item vectors are those of the dataset's last day; the index is tuned on stored users.

    Args:
        workdir: of the run.
        output: base path; the version appears below it in one rename, complete.
        dataset_dir: instead of the dataset that the run was trained on.
        version: instead of the next one.
        console: for progress.

    Returns:
        The report, which is also written to `assets.extra/export.json` of the version.

    Raises:
        UserError: no finished run, or another dataset than it was trained on.
    """
    console.print(f"restoring {workdir}")
    config, dataset, model, step = restore_run(workdir, dataset_dir)
    day = dataset.manifest.splits.last_day
    console.print(f"embedding {dataset.catalog.size - 1:,} items")
    items = model.embed_catalog(dataset.catalog.size, day=day)[1:]

    requests = _stored_requests(dataset)
    queries = embed_requests(model, dataset, requests)
    width = min(config.export.k, len(items))
    console.print("building the index")
    searcher, tuning = build(items, queries, config=config.export, width=width)
    console.print(_told(tuning))

    exported = ExportedModel(
        model,
        searcher,
        dataset.catalog,
        config=config.export,
        temperature=float(model.temperature()),
    )
    version = next_version(output) if version is None else version
    with building(output, version) as place:
        console.print("saving")
        tf.saved_model.save(
            exported,
            str(place),
            signatures=exported.signatures(),
            # The ScaNN operations live in a namespace that a saver must be told of.
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
        )
        write_warmup(place, dataset.spec)
        report = {
            "version": version,
            "step": step,
            "spec_fingerprint": dataset.manifest.spec_fingerprint,
            "assets_fingerprint": dataset.manifest.assets_fingerprint,
            "index": asdict(tuning),
            "recall": _exported_recall(place, requests, items, queries, config, dataset),
        }
        path = place / REPORT
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    console.print(f"published {output / str(version)}")
    return {"model": str(output / str(version)), **report}


def _stored_requests(dataset: Dataset) -> Request:
    states = load_states(dataset.root, dataset.manifest, dataset.spec, sample=_TUNING_USERS)
    if not states.user_id:
        raise UserError(f"--dataset={dataset.root}: found no user, expected at least one")
    return build_request(dataset.spec, states)


def _exported_recall(
    place: Path,
    request: Request,
    items: np.ndarray,
    queries: np.ndarray,
    config: Config,
    dataset: Dataset,
) -> dict[str, float | int]:
    """What the saved graph finds of the exact lists, history left out on both sides alike."""
    loaded = tf.saved_model.load(str(place))
    video_id = dataset.catalog.video_id
    index = {v: i for i, v in enumerate(video_id)}
    answer = _in_batches(loaded.signatures["serving_default"], request)
    found = np.vectorize(lambda v: index.get(v.decode(), -1), otypes=[np.int64])(answer["item_id"])
    scores = queries @ items.T
    if config.export.exclude_history:
        history = catalog_ids(dataset.catalog, request[f"{dataset.spec.sequence[0]}_item_id"])
        for row, seen in zip(scores, history, strict=True):
            row[seen[seen > 0] - 1] = -np.inf
    width = found.shape[1]
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :width] + 1
    return {"recall": mean_overlap(found, exact), "k": width, "num_queries": len(found)}


def _in_batches(function: Any, request: Request) -> dict[str, np.ndarray]:
    count = len(next(iter(request.values())))
    answers = [
        function(**tensors({n: v[start : start + 128] for n, v in request.items()}))
        for start in range(0, count, 128)
    ]
    return {n: np.concatenate([a[n].numpy() for a in answers]) for n in answers[0]}


def _told(tuning: Tuning) -> str:
    if tuning.kind == Index.EXACT.value:
        return f"index: exact over {tuning.num_items:,} items"
    leaves = (
        f", {tuning.leaves_to_search} of {tuning.num_leaves} leaves" if tuning.num_leaves else ""
    )
    return (
        f"index: {tuning.kind} over {tuning.num_items:,} items{leaves}, reorder {tuning.reorder}: "
        f"recall@{tuning.width} {tuning.recall:.4f}, {tuning.batch_ms:.2f} ms for 32 queries"
    )
