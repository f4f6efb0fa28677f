"""What a version must show before it is visible: recall, quality, its golden requests, latency."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console

from configs.errors import UserError
from configs.schema import Config
from serving.assembly import Assembly
from serving.bundle import Bundle
from serving.exported import ExportedModel
from serving.index import ExactSearcher
from serving.offline import tensors
from serving.publishing import newest, read_report, set_aside, with_twin, write_report
from serving.quality import measure, takes_features_of
from serving.removed import read_removed
from serving.requests import Request
from serving.saved_model import SavedModel
from serving.stored_requests import stored_requests
from serving.tuning import recall_by_score
from serving.verdict import CANDIDATE, LIVE, Verdict, refusal
from serving.versions import LoadError
from trainer.dataset import Dataset
from trainer.restore import restore_run

_ROWS_AT_ONCE = 128
_MADE_FROM = ("step", "spec_fingerprint", "assets_fingerprint")  # of a candidate's report


def check_candidate(
    candidate: Path, workdir: Path, *, dataset_dir: Path | None, console: Console
) -> dict[str, Any]:
    """Checks what `serving.export` left, against exact search by the run that it was made from.

    Args:
        candidate: hidden directory of the version; its report gets the gate's word.
        workdir: of the run.
        dataset_dir: instead of the dataset that the run was trained on.
        console: for progress.

    Returns:
        The report.

    Raises:
        UserError: no such candidate or run, another run than it was made from, or the gate
            refuses; then the candidate is kept aside.
    """
    report = read_report(candidate, needs=_MADE_FROM)
    config, dataset, model, step = restore_run(workdir, dataset_dir)
    _require_made_from(report, dataset, step=step, workdir=workdir)
    bundle = Bundle(candidate)
    items = bundle.values[bundle.key("searcher", "vectors")]
    assembly = Assembly(config, dataset, model, items, removed=read_removed(candidate))
    exact = assembly.with_index(ExactSearcher(items))
    verdict = check(candidate, config, dataset, exact, console=console)
    return word(candidate, verdict, force=False)


def check(
    place: Path, config: Config, dataset: Dataset, exact: ExportedModel, *, console: Console
) -> Verdict:
    """Checks a version that is not visible yet, and its twin.

    Args:
        place: the version's directory, beside the live versions.
        config: of the run that it was made from.
        dataset: of that run.
        exact: the same version with exact search.
        console: for progress.
    """
    console.print("gate: recall, quality, golden requests in a fresh process")
    verdict = Verdict()
    loaded = SavedModel(place)
    _, held_out = stored_requests(dataset)
    verdict.recall(
        _recall(loaded, exact, held_out),
        target=config.export.recall_target,
        k=min(config.export.k, dataset.catalog.size - 1),
    )
    _check_quality(verdict, config, dataset, loaded, place.parent)
    loaded.close()
    *twin, _ = with_twin(place)
    verdict.replay(place, max_latency_ms=config.export.max_latency_ms)
    for each in twin:
        verdict.replay(each, max_latency_ms=config.export.max_latency_ms, with_scann=False)
    verdict.show(console)
    return verdict


def word(place: Path, verdict: Verdict, *, force: bool) -> dict[str, Any]:
    """Writes what the gate found into the report of a version that is not visible yet.

    Returns:
        The report.

    Raises:
        UserError: the gate refuses it, and `force` does not say otherwise.
    """
    report = read_report(place) | {"gate": verdict.report()}
    for each in with_twin(place):
        write_report(each, report)
    if verdict.problems and not force:
        raise refusal(verdict.problems, set_aside(place, report))
    return report


def _require_made_from(
    report: dict[str, Any], dataset: Dataset, *, step: int, workdir: Path
) -> None:
    found = {
        "step": step,
        "spec_fingerprint": dataset.manifest.spec_fingerprint,
        "assets_fingerprint": dataset.manifest.assets_fingerprint,
    }
    for name, value in found.items():
        if report[name] != value:
            raise UserError(
                f"--workdir={workdir}: found {name} {value}, expected {report[name]}, that of the "
                "candidate"
            )


def _recall(loaded: SavedModel, exact: ExportedModel, request: Request) -> float:
    """What the saved graph finds of the lists that exact search makes of the same requests."""
    signature = loaded.signatures["serving_default"]
    exactly = tf.function(exact.recommend, reduce_retracing=True)
    found, furthest = [], []
    for start in range(0, len(next(iter(request.values()))), _ROWS_AT_ONCE):
        block = {name: column[start : start + _ROWS_AT_ONCE] for name, column in request.items()}
        found.append(signature.answer(block)["score"])
        furthest.append(exactly(tensors(block))["score"].numpy()[:, -1:])
    # Scores are dot products over the temperature: so are their rounding errors.
    return recall_by_score(np.concatenate(found), np.concatenate(furthest), tie=1e-3)


def _check_quality(
    verdict: Verdict, config: Config, dataset: Dataset, candidate: SavedModel, base: Path
) -> None:
    contenders = {CANDIDATE: candidate}
    live, other = newest(base), None
    if live is not None:
        problem = ""
        try:
            other = SavedModel(base / str(live))
            if takes_features_of(other, dataset):
                contenders[LIVE] = other
            else:
                problem = "it takes other features than the dataset has"
        except LoadError as error:  # a broken version must not keep a sound one from going live
            problem = f"it cannot be loaded: {error}"
        verdict.checks["live"] = {"version": live, "not_compared": problem or None}
    verdict.quality(measure(config, dataset, contenders), margin=config.export.quality_margin)
    if other is not None:
        other.close()
