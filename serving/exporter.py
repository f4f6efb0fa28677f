"""From a trained run to a published version: one SavedModel with both towers, catalog and index."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from configs.schema import Config, Index
from preprocessing.columns import SECONDS_PER_DAY, DType
from preprocessing.features import columns_of
from serving.assembly import Assembly
from serving.cpp_logs import only_errors
from serving.dataset_config import write_dataset_config
from serving.exported import ExportedModel
from serving.gating import check, word
from serving.golden import Inputs, MakeUp, golden_requests, write_golden, write_warmup
from serving.index import ExactSearcher
from serving.offline import embed_requests, tensors
from serving.pareto import write_pareto
from serving.portable import drop_new_attributes
from serving.publishing import (
    building,
    candidate_of,
    keep_as_candidate,
    newest,
    publish,
    published,
    read_report,
    require_new,
    twin_of,
    with_twin,
    write_report,
)
from serving.removed import read_removed, write_removed
from serving.signatures import FINGERPRINTS
from serving.stored_requests import stored_requests
from serving.tuning import Tuning, build
from trainer.dataset import Dataset
from trainer.model import TwoTower
from trainer.restore import restore_run
from trainer.workdir import require_finished

_MADE_UP_VALUES = 20  # values of each string column that made-up requests draw from


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an export is published.

    Attributes:
        version: instead of the next one.
        twin: also write a version without custom operations, below `serving.publishing.twin_of`.
        force: publish what the gate refuses; the version's report says so.
        forget_removed: items that `serving.update` removed from the live version may come back.
        candidate: leave it hidden under this name, unchecked, for `serving.gate` and
            `serving.publish`; it has no version yet.
    """

    version: int | None = None
    twin: bool = False
    force: bool = False
    forget_removed: bool = False
    candidate: str | None = None


def export(
    workdir: Path,
    output: Path,
    *,
    dataset_dir: Path | None = None,
    options: Options | None = None,
    console: Console,
) -> dict[str, Any]:
    """Exports the checkpoint of a run that counts; publishes it as a version if the gate lets it.

    Item vectors are those of the dataset's last day; the index is tuned on stored users.

    Args:
        workdir: of the run.
        output: base path; the version appears below it in one rename, complete.
        dataset_dir: instead of the dataset that the run was trained on.
        options: how it is published.
        console: for progress.

    Returns:
        The report, which is also written to `assets.extra/export.json` of the version.

    Raises:
        UserError: nothing can be written to `output`, no finished run, another dataset than it was
            trained on, or the gate refuses; then the candidate is kept aside.
    """
    options = options or Options()
    if options.version is not None:
        for base in (output, twin_of(output)) if options.twin else (output,):
            require_new(base, options.version)
    if options.candidate is not None:
        candidate_of(output, options.candidate)
    only_errors()
    with ExitStack() as stack:
        place = stack.enter_context(building(output))
        if options.twin:
            stack.enter_context(building(twin_of(output)))
        console.print(f"restoring {workdir}")
        config, dataset, model, step = restore_run(workdir, dataset_dir)
        require_finished(workdir, step)
        exact = _build(place, config, dataset, model, step=step, options=options, console=console)
        if options.candidate is not None:
            kept = keep_as_candidate(place, options.candidate)
            console.print(f"left {kept} for serving.gate and serving.publish")
            return {"candidate": str(kept), **read_report(kept)}
        verdict = check(place, config, dataset, exact, console=console)
        word(place, verdict, force=options.force)
        report = publish(place, version=options.version, force=options.force)
    return published(output, report, console)


def _build(
    place: Path,
    config: Config,
    dataset: Dataset,
    model: TwoTower,
    *,
    step: int,
    options: Options,
    console: Console,
) -> ExportedModel:
    """Writes the version, its twin if there is a place for one, and their report.

    Returns:
        The version with exact search.
    """
    console.print(f"embedding {dataset.catalog.size - 1:,} items")
    day = dataset.manifest.splits.last_day
    items = model.embed_catalog(dataset.catalog.size, day=day)[1:]
    tuning_users, _ = stored_requests(dataset)
    console.print("building the index")
    tuned = build(
        items,
        embed_requests(model, dataset, tuning_users),
        config=config.export,
        width=min(config.export.k, len(items)),
    )
    console.print(_told(tuned.chosen))
    live = newest(place.parent)
    removed: set[str] = set()
    if live is not None and not options.forget_removed:
        removed = read_removed(place.parent / str(live))
    assembly = Assembly(config, dataset, model, items, removed=removed)
    exact = assembly.with_index(ExactSearcher(items))
    is_exact = tuned.chosen.kind == Index.EXACT.value
    exported = exact if is_exact else assembly.with_index(tuned.searcher)
    make_up = _make_up(dataset)
    for each in with_twin(place):
        console.print("saving" if each == place else "saving the twin")
        _save(exported if each == place else exact, each, make_up)
        write_removed(each, removed)
        write_dataset_config(each, dataset.manifest)
    write_pareto(place, tuned, target=config.export.recall_target)
    report = {
        "beside": live,
        "step": step,
        **{name: getattr(dataset.manifest, name) for name in FINGERPRINTS},
        "as_of": day * SECONDS_PER_DAY,
        "index": asdict(tuned.chosen) | {"build_s": round(tuned.build_s, 2)},
        "items": {"indexed": len(items), "fresh": 0, "removed": len(removed)},
        "rebuild_share": config.export.rebuild_share,
        "max_latency_ms": config.export.max_latency_ms,
    }
    for each in with_twin(place):
        write_report(each, report)
    return exact


def _save(exported: ExportedModel, place: Path, make_up: MakeUp) -> None:
    signatures = exported.signatures()
    tf.saved_model.save(
        exported,
        str(place),
        signatures=signatures,
        # The ScaNN operations live in a namespace that a saver must be told of.
        options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
    )
    drop_new_attributes(place)
    write_warmup(place, make_up, signatures)

    def answer(signature: str, inputs: Inputs) -> Inputs:
        outputs = signatures[signature](**tensors(dict(inputs)))
        return {name: value.numpy() for name, value in outputs.items()}

    write_golden(place, golden_requests(make_up, signatures), answer)


def _make_up(dataset: Dataset) -> MakeUp:
    """Made-up requests with values of the dataset's vocabularies, as of its last day."""
    values = {
        column.name: dataset.assets.vocabularies[name][:_MADE_UP_VALUES]
        for name in dataset.assets.vocabularies
        if name in dataset.spec.features
        for column in columns_of(name, dataset.spec.features[name])
        if column.dtype is DType.BYTES
    }
    return MakeUp(
        spec=dataset.spec,
        video_id=dataset.catalog.video_id[1:],
        values=values,
        now=dataset.manifest.splits.last_day * SECONDS_PER_DAY,
    )


def _told(tuning: Tuning) -> str:
    if tuning.kind == Index.EXACT.value:
        return f"index: exact over {tuning.num_items:,} items"
    leaves = (
        f", {tuning.leaves_to_search} of {tuning.num_leaves} leaves" if tuning.num_leaves else ""
    )
    return (
        f"index: {tuning.kind} over {tuning.num_items:,} items{leaves}, reorder {tuning.reorder}: "
        f"recall@{tuning.width} {tuning.recall:.4f}, {tuning.p50_ms:.2f} ms for a query"
    )
