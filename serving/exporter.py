"""From a trained run to a published version: one SavedModel with both towers, catalog and index."""

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from rich.console import Console

from configs.errors import UserError
from configs.schema import Config, Index
from preprocessing.features import SECONDS_PER_DAY, UNKNOWN_ITEM, DType, columns_of
from serving.exported import ExportedModel
from serving.gate import CANDIDATE, LIVE, REPORT, Gate, refusal, refuse
from serving.golden import Inputs, MakeUp, golden_requests, write_golden, write_warmup
from serving.index import ExactSearcher
from serving.item_store import ItemStore, ItemTable, open_items
from serving.offline import embed_requests, tensors
from serving.pareto import write_pareto
from serving.portable import drop_new_attributes
from serving.publish import building, next_version, twin_of, versions
from serving.quality import measure, takes_features_of
from serving.removed import read_removed, write_removed
from serving.requests import Request, build_request, load_states
from serving.saved_model import SavedModel
from serving.signatures import ITEM_ID
from serving.tuning import Tuning, build, recall_by_score
from serving.versions import LoadError
from trainer.dataset import Dataset, load_interactions
from trainer.restore import restore_run

_TUNING_USERS = 1_000
_HELD_OUT_USERS = 500
_MADE_UP_VALUES = 20  # values of each string column that made-up requests draw from


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an export is published.

    Attributes:
        version: instead of the next one.
        twin: also write a version without custom operations, below `serving.publish.twin_of`.
        force: publish what the gate refuses; the version's report says so.
        forget_removed: items that `serving.update` removed from the live version may come back.
    """

    version: int | None = None
    twin: bool = False
    force: bool = False
    forget_removed: bool = False


def export(
    workdir: Path,
    output: Path,
    *,
    dataset_dir: Path | None = None,
    options: Options | None = None,
    console: Console,
) -> dict[str, Any]:
    """Exports the newest checkpoint of a run and publishes it as a version, if it passes the gate.

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
        UserError: no finished run, another dataset than it was trained on, or the gate refuses;
            then the candidate is kept aside.
    """
    options = options or Options()
    console.print(f"restoring {workdir}")
    config, dataset, model, step = restore_run(workdir, dataset_dir)
    console.print(f"embedding {dataset.catalog.size - 1:,} items")
    day = dataset.manifest.splits.last_day
    items = model.embed_catalog(dataset.catalog.size, day=day)[1:]
    tuning_users, held_out = _stored_requests(dataset)
    console.print("building the index")
    tuned = build(
        items,
        embed_requests(model, dataset, tuning_users),
        config=config.export,
        width=min(config.export.k, len(items)),
    )
    console.print(_told(tuned.chosen))

    live = versions(output)[-1:]
    removed = set()
    if live and not options.forget_removed:
        removed = read_removed(output / str(live[0]))
    store = ItemStore(
        ItemTable(
            video_id=dataset.catalog.video_id[1:],
            popularity=recent_positives(dataset, config.export.popularity_days)[1:],
            removed=removed,
        ),
        items,
        num_popular=2 * config.export.k,
    )
    looked_up = open_items(model)
    exact = ExportedModel(
        model, ExactSearcher(items), store, looked_up=looked_up, config=config.export
    )
    exported = exact
    if tuned.chosen.kind != Index.EXACT.value:
        exported = ExportedModel(
            model, tuned.searcher, store, looked_up=looked_up, config=config.export
        )
    make_up = _make_up(dataset)
    version = options.version
    if version is None:
        version = max(next_version(output), next_version(twin_of(output)) if options.twin else 1)

    with ExitStack() as stack:
        place = stack.enter_context(building(output, version))
        console.print("saving")
        _save(exported, place, make_up)
        write_pareto(place, tuned, target=config.export.recall_target)
        write_removed(place, removed)
        gate = Gate()
        console.print("gate: recall, quality, golden requests in a fresh process")
        loaded = SavedModel(place)
        gate.recall(
            _recall(loaded, exact, held_out),
            target=config.export.recall_target,
            k=tuned.chosen.width,
        )
        _check_quality(gate, config, dataset, loaded, output, live)
        loaded.close()
        gate.replay(place, max_latency_ms=config.export.max_latency_ms)
        if options.twin:
            twin = stack.enter_context(building(twin_of(output), version))
            console.print("saving the twin")
            _save(exact, twin, make_up)
            write_removed(twin, removed)
            gate.replay(twin, max_latency_ms=config.export.max_latency_ms, with_scann=False)
        report = {
            "version": version,
            "step": step,
            "spec_fingerprint": dataset.manifest.spec_fingerprint,
            "assets_fingerprint": dataset.manifest.assets_fingerprint,
            "as_of": day * SECONDS_PER_DAY,
            # From which raw column, and how, an update makes the vectors of a text.
            "texts": {
                columns_of(name, text)[0].name: {
                    "column": text.column,
                    "encoder": text.encoder.value,
                }
                for name, text in dataset.spec.texts.items()
            },
            "id_column": dataset.spec.features[ITEM_ID].column,
            "index": asdict(tuned.chosen),
            "items": {"indexed": len(items), "fresh": 0, "removed": len(removed)},
            "rebuild_share": config.export.rebuild_share,
            "max_latency_ms": config.export.max_latency_ms,
            "gate": gate.report(forced=options.force),
        }
        for each in [place, twin] if options.twin else [place]:
            (each / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        if gate.problems and not options.force:
            raise refusal(gate.problems, refuse(place, output, version, report))
    console.print(f"published {output / str(version)}")
    result = {"model": str(output / str(version)), **report}
    return result | ({"twin": str(twin_of(output) / str(version))} if options.twin else {})


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


def _stored_requests(dataset: Dataset) -> tuple[Request, Request]:
    """Requests of stored users: to tune the index on, and to measure it with."""
    states = load_states(
        dataset.root, dataset.manifest, dataset.spec, sample=_TUNING_USERS + _HELD_OUT_USERS
    )
    count = len(states.user_id)
    if not count:
        raise UserError(f"--dataset={dataset.root}: found no user, expected at least one")
    request = build_request(dataset.spec, states)
    held_out = np.arange(count) % 3 == 2 if count >= 3 else np.ones(count, bool)
    tuning = ~held_out if count >= 3 else held_out
    return (
        {name: column[tuning] for name, column in request.items()},
        {name: column[held_out] for name, column in request.items()},
    )


def recent_positives(dataset: Dataset, days: int) -> npt.NDArray[np.int64]:
    """Positives of each item in the log's last `days`, 0 for all: int64 [items + 1]."""
    positives = load_interactions(dataset, ["train", "validation", "test"])
    recent = positives.time >= positives.end_time - days * SECONDS_PER_DAY
    item = positives.item[recent] if days else positives.item
    counts = np.bincount(item, minlength=dataset.catalog.size).astype(np.int64)
    counts[UNKNOWN_ITEM] = 0
    return counts


def _recall(loaded: SavedModel, exact: ExportedModel, request: Request) -> float:
    """What the saved graph finds of the lists that exact search makes of the same requests."""
    signature = loaded.signatures["serving_default"]
    exactly = tf.function(exact.recommend, reduce_retracing=True)
    found, furthest = [], []
    for start in range(0, len(next(iter(request.values()))), 128):
        block = {name: column[start : start + 128] for name, column in request.items()}
        answer = signature.run(*(block[name] for name in signature.input_names))
        found.append(answer[signature.output_names.index("score")])
        furthest.append(exactly(tensors(block))["score"].numpy()[:, -1:])
    # Scores are dot products over the temperature: so are their rounding errors.
    return recall_by_score(np.concatenate(found), np.concatenate(furthest), tie=1e-3)


def _check_quality(
    gate: Gate,
    config: Config,
    dataset: Dataset,
    candidate: SavedModel,
    output: Path,
    live: list[int],
) -> None:
    contenders = {CANDIDATE: candidate}
    other = None
    if live:
        problem = ""
        try:
            other = SavedModel(output / str(live[0]))
            if takes_features_of(other, dataset):
                contenders[LIVE] = other
            else:
                problem = "it takes other features than the dataset has"
        except LoadError as error:  # a broken version must not keep a sound one from going live
            problem = f"it cannot be loaded: {error}"
        gate.checks["live"] = {"version": live[0], "not_compared": problem or None}
    gate.quality(measure(config, dataset, contenders), margin=config.export.quality_margin)
    if other is not None:
        other.close()


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
