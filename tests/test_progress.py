"""A running job shows what it works on and how much is done, in a terminal and in a file."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from preprocessing import manifest as manifests
from preprocessing import progress
from preprocessing.job import preprocess
from tests.raw_logs import config_of, raw_log, small_data


def said_of_a_run(folder: Path, *, is_terminal: bool) -> str:
    tables = raw_log(3).write(folder / "raw")
    said = io.StringIO()
    display = Console(file=said, width=140, force_terminal=is_terminal)
    preprocess(config_of(small_data()), tables=tables, output=folder / "dataset", display=display)
    return said.getvalue()


def test_a_file_gets_a_line_for_each_stage_with_its_counts(tmp_path: Path) -> None:
    said = said_of_a_run(tmp_path, is_terminal=False)
    manifest = manifests.read(tmp_path / "dataset")
    total = manifest.counters["total"]
    queries = sum(f.rows for f in manifest.files if f.part.startswith("queries/"))
    train = manifest.rows("train")
    for line in (
        f"reading and checking tables: {total['read']} rows of events, "
        f"{manifest.counters['videos']['read']} rows of videos, "
        f"{manifest.counters['users']['read']} rows of users, ",
        f"putting events in order: {total['read']} events ordered, ",
        f"labelling: {total['valid']} events labelled, ",
        f"features of each row, as of its moment: {train} rows of train, {queries} queries, ",
        f"writing rows: {train + queries} rows and queries, ",
    ):
        assert re.search(rf"^  {re.escape(line)}\d+\.\d s$", said, re.MULTILINE), (line, said)
    assert " … " not in said  # nothing took half a minute


def test_a_file_hears_from_a_long_stage_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    said = said_of_a_run(tmp_path, is_terminal=False)
    counted = [int(n) for n in re.findall(r"^  labelling … (\d+) events labelled$", said, re.M)]
    assert len(counted) > 1
    assert counted == sorted(counted)
    assert f"labelling: {counted[-1]} events labelled" in said


def test_a_terminal_shows_the_count_as_it_grows(tmp_path: Path) -> None:
    said = said_of_a_run(tmp_path, is_terminal=True)
    assert re.search(r"labelling: .*events labelled", said)
    assert "\x1b[" in said and "… " in said


def test_nothing_is_heard_of_a_job_that_is_over() -> None:
    said = io.StringIO()
    with progress.stage_lines(Console(file=said)):
        pass
    progress.count(5, "rows of nothing")
    assert "nothing" not in said.getvalue()
