"""A whole preprocessing job: checks what it was given, runs the pipeline, publishes the dataset."""

import contextlib
import errno
import fcntl
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from configs.errors import UserError
from configs.schema import Config, DamagedFiles
from configs.serialization import to_dict
from preprocessing import counters, log_warnings, runner_buffers
from preprocessing import manifest as manifests
from preprocessing.contract import TABLES, Table, check_parquet, check_present, tables_of
from preprocessing.features import FeatureSpec, spec_of
from preprocessing.manifest import Manifest, Splits
from preprocessing.outputs import SUMMARY
from preprocessing.pipeline import define_pipeline
from preprocessing.previous import load_previous
from preprocessing.progress import stage_lines, stderr_aside
from preprocessing.sources import SourceFile, damage_of, list_files, read_schema
from preprocessing.splits import check_dates, empty_test
from preprocessing.text import fingerprints

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Where no option names another. Named in full: Beam's own choice tries a runner that it fetches
from the network first."""

_RUN = "data-"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_FROM_WORKER = re.compile(r"^configs\.errors\.UserError: (.*)$", re.MULTILINE)
_WHERE_IN_BEAM = re.compile(r" \[while running '.*?'\]", re.DOTALL)


def preprocess(
    config: Config,
    *,
    tables: Mapping[str, str],
    output: Path,
    beam_options: Sequence[str] = (),
    window_days: int = 0,
    previous: Path | None = None,
    display: Console,
) -> dict[str, Any]:
    """Makes a dataset.

    Args:
        config: of the run, validated.
        tables: where `events`, `videos` and, if there is one, `users` are: a file, a directory or
            a glob each.
        output: directory of the dataset; an earlier one there is replaced when this one is done.
        beam_options: as Beam's command line takes them.
        window_days: take the events of the last so many UTC days only; 0 for all.
        previous: an earlier dataset, whose vocabulary ids and scales are kept.
        display: where progress is drawn.

    Returns:
        What the dataset holds.

    Raises:
        UserError: something in the config or the tables is wrong; an earlier dataset is untouched.
    """
    started = time.monotonic()
    spec = spec_of(config)
    check_dates(config.data.split)
    fingerprints(spec)  # what an encoder lacks is said before any row is read
    contract = tables_of(spec)
    options = _options(beam_options)
    before = load_previous(previous, spec) if previous else None
    files = tuple(
        f for table in TABLES if table in tables for f in list_files(table, tables[table])
    )
    _check_columns(files, contract, config.data.damaged_files)

    with run_folder(output) as folder, disk_full_is_said(output):
        with stage_lines(display), stderr_aside():
            _run(
                options, files=files, tables=contract, spec=spec, folder=str(folder),
                window_days=window_days, previous=before,
            )  # fmt: skip
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        (folder / SUMMARY).unlink()
        manifest = _manifest(
            config, spec, folder, summary, counters.of(summary, files),
            window_days=window_days, previous=before.assets_fingerprint if before else "",
        )  # fmt: skip
        counted = manifest.counters["total"]["rows"]["train"]
        if manifest.rows("train") != counted:
            raise AssertionError(f"{counted} train rows, {manifest.rows('train')} written")
        manifests.write(output, manifest)
    sweep(output, keep=folder)

    _show(manifest, display)
    total = manifest.counters["total"]
    warnings = log_warnings.unknown_ids(manifest.counters)
    warnings += log_warnings.events_never_logged(spec, summary["labels"]["event"])
    if not total["rows"]["test"]:
        warnings.append(empty_test(config.data.split, manifest.splits))
    warnings += log_warnings.counted_answers(spec, config.data.split.by)
    for warning in warnings:
        display.print(Text.assemble(("warning:", "bold red"), " ", warning))
    return {
        "dataset": str(output),
        "rows": total["rows"],
        "queries": {p: manifest.rows(p) for p in _parts(manifest) if p.startswith("queries/")},
        "items": manifest.rows("catalog"),
        "users": manifest.rows("users"),
        "dead_letter": manifest.rows("dead_letter"),
        "quarantined": list(manifest.counters["quarantined"]),
        "warnings": warnings,
        "bytes": sum(file.size for file in manifest.files),
        "seconds": round(time.monotonic() - started, 1),
    }


def _options(arguments: Sequence[str]) -> PipelineOptions:
    said = io.StringIO()
    # Of several, the last counts.
    options = PipelineOptions([f"--runner={RUNNER}", *arguments])
    try:
        with contextlib.redirect_stderr(said):
            known = options.get_all_options()
            unknown = set(options.get_all_options(retain_unknown_options=True)) - set(known)
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1]
        raise UserError(f"Beam options after --: {reason}") from None
    if known.get("direct_running_mode") == "multi_threading":
        # Seen twice in four runs: events of one group of users gone between two stages.
        raise UserError(
            "Beam options after --: found --direct_running_mode=multi_threading, expected "
            "in_memory or multi_processing: under threads Beam's local runner loses elements"
        )
    unknown |= {argument for argument in arguments if not argument.startswith("-")}
    if unknown:
        raise UserError(f"Beam options after --: found {min(unknown)!r}, expected Beam's own flags")
    return options


def _check_columns(
    files: tuple[SourceFile, ...], contract: Mapping[str, Table], damaged: DamagedFiles
) -> None:
    """Checks what can be known before a row is read: tables that are absent or of Parquet alone."""
    present: dict[str, set[str]] = {}
    known = []
    for name, table in contract.items():
        of_table = [file for file in files if file.table == name]
        if damaged is DamagedFiles.QUARANTINE:
            of_table = [f for f in of_table if not f.is_parquet or not damage_of(f)] or of_table
        for file in of_table:
            present.setdefault(name, set())
            if file.is_parquet:
                schema = read_schema(file)
                check_parquet(file.path, schema, table)
                present[name].update(schema.names)
        if all(file.is_parquet for file in of_table):
            known.append(table)
    check_present(known, present)


def _run(options: PipelineOptions, **of_pipeline: Any) -> None:
    """Runs the pipeline; a user's mistake that a worker found comes out as it was raised there."""
    runner_buffers.make_safe()
    try:
        try:
            pipeline = beam.Pipeline(options=options)
        except (ValueError, ImportError, AttributeError) as error:
            # A runner that there is not, or an option that the runner needs and has not got.
            raise UserError(f"Beam options after --: {str(error).splitlines()[0]}") from None
        define_pipeline(pipeline, **of_pipeline)
        pipeline.run().wait_until_finish()
    except UserError as error:
        raise UserError(_WHERE_IN_BEAM.sub("", str(error))) from None
    except RuntimeError as error:
        # Another process can send no more than the text of its traceback.
        found = _FROM_WORKER.search(str(error))
        if found is None:
            raise
        raise UserError(_WHERE_IN_BEAM.sub("", found[1])) from None


@contextlib.contextmanager
def disk_full_is_said(output: Path) -> Iterator[None]:
    """Turns an error of a full disk, of this process or a worker's, into a line for the user."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Beam makes the exception anew with a longer text and without its number.
        full = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
        found = next((text for text in full if text in str(error)), None)
        if found is None:
            raise
        raise UserError(
            f"--output: {output}: {found[0].lower()}{found[1:]}; nothing of this run is kept"
        ) from None


@contextlib.contextmanager
def run_folder(output: Path) -> Iterator[Path]:
    """A fresh folder in `output` for this run alone, swept if the run fails."""
    if output.parts and _SCHEME.fullmatch(output.parts[0]):
        raise UserError(
            f"--output: found {str(output).replace(':/', '://', 1)}, expected a directory that "
            "this machine and all workers mount"
        )
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"--output: {output} cannot be made: {error}") from None
    folder = output / f"{_RUN}{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--output: found another run at work in {output}, expected to be alone"
            ) from None
        try:
            folder.mkdir()
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if is_new:
                output.rmdir()
            raise
    finally:
        os.close(handle)


def sweep(output: Path, *, keep: Path) -> None:
    """Removes what earlier runs left, finished or not, beside the folder of the one that is."""
    for other in output.glob(f"{_RUN}*"):
        if other != keep:
            shutil.rmtree(other)
    for unfinished in manifests.unfinished(output):
        unfinished.unlink()


def _manifest(
    config: Config,
    spec: FeatureSpec,
    folder: Path,
    summary: dict[str, Any],
    counted: dict[str, Any],
    *,
    window_days: int,
    previous: str,
) -> Manifest:
    vocabularies, statistics = (
        json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))
        for part in ("vocabularies", "statistics")
    )
    catalog = pl.read_parquet(folder / "catalog.parquet", columns=["video_id"])
    return Manifest(
        kind="positives",
        config=to_dict(config),
        spec=spec.describe(),
        spec_fingerprint=spec.fingerprint(),
        assets_fingerprint=manifests.assets_fingerprint(
            item_ids=catalog["video_id"].to_list(),
            vocabularies=vocabularies,
            statistics=statistics,
            text_encoders=fingerprints(spec),
        ),
        splits=Splits(**summary["splits"]),
        counters=counted,
        files=tuple(
            manifests.describe_file(
                folder.parent,
                f"{folder.name}/{file['name']}",
                part=file["part"],
                rows=file["rows"],
                records=file.get("records", 0),
            )
            for file in summary["files"]
        ),
        window_days=window_days,
        previous=previous,
    )


def _parts(manifest: Manifest) -> list[str]:
    return sorted({file.part for file in manifest.files})


def _show(manifest: Manifest, display: Console) -> None:
    total = manifest.counters["total"]
    table = RichTable(title="Events", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in total.items():
        if isinstance(value, dict):
            for reason, count in value.items():
                table.add_row(f"{name.replace('_', ' ')}: {reason}", f"{count:,}")
        else:
            table.add_row(name.replace("_", " "), f"{value:,}")
    for name in ("unknown_user", "unknown_video"):
        table.add_row(name.replace("_", " "), f"{manifest.counters[name]:,}")
    display.print(table)
    for damage in manifest.counters["quarantined"].values():
        display.print(f"left out: {damage}", markup=False)
    table = RichTable(title="Dataset", title_justify="left")
    table.add_column("part")
    for name in ("files", "rows", "MB"):
        table.add_column(name, justify="right")
    for part in _parts(manifest):
        files = manifest.part(part)
        size = sum(file.size for file in files) / 1e6
        table.add_row(part, str(len(files)), f"{manifest.rows(part):,}", f"{size:.1f}")
    display.print(table)
