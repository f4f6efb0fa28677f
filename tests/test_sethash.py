"""The set-hash: what must not change it, and what must."""

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.columns import Column
from preprocessing.description.reading import read_rows
from preprocessing.records import Values, encode_rows
from preprocessing.sethash import SetHash, dataset_hash, differing, list_hashes, set_hashes
from preprocessing.writer import write_file
from tests.commands import result_of, run_command
from tests.decoded import Decoded, run
from tests.raw_logs import config_of, raw_log, small_data, write_tables

EVENTS, VIDEOS, USERS = raw_log(7, events=400)


@pytest.fixture(scope="module")
def config() -> Config:
    return config_of(small_data())


@pytest.fixture(scope="module")
def found(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    root = tmp_path_factory.mktemp("sethash")
    return run(config, write_tables(root, EVENTS, VIDEOS, USERS), root / "dataset")


@pytest.fixture(scope="module")
def hashes(found: Decoded) -> dict[str, SetHash]:
    return set_hashes(found.root)


def values_of(path: Path, columns: tuple[Column, ...]) -> dict[str, Values]:
    frame = pl.concat(read_rows(path, columns))
    values = {}
    for column in columns:
        series = frame[column.name]
        is_list = isinstance(series.dtype, pl.List)
        flat = series.filter(series.list.len() > 0).explode() if is_list else series
        lengths = series.list.len().to_numpy().astype(np.int64) if column.is_ragged else None
        is_text = flat.dtype == pl.String
        values[column.name] = Values(
            flat=flat.cast(pl.Binary).to_list() if is_text else flat.to_numpy(),
            lengths=lengths,
        )
    return values


def rewrite(found: Decoded, copy: Path, part: str, change: str) -> Path:
    """The dataset again, with one file of records changed; returns where it is."""
    manifest = found.manifest
    file = max(manifest.part(part), key=lambda f: f.rows)
    columns = found.spec.train_columns if part == "train" else found.spec.query_columns
    values = values_of(found.root / file.name, columns)
    rows = file.rows
    if change == "one bit":
        flat = np.array(values["weight"].flat)
        flat[3] = np.nextafter(flat[3], np.float32(2))
        values["weight"] = Values(flat=flat)
    elif change == "a history turned round":
        name = found.spec.history_item_column
        lengths = values[name].lengths
        assert lengths is not None
        flat = np.array(values[name].flat)
        row = int(np.flatnonzero(lengths > 1)[0])
        first = int(lengths[:row].sum())
        flat[first : first + lengths[row]] = flat[first : first + lengths[row]][::-1].copy()
        values[name] = Values(flat=flat, lengths=lengths)
    elif change == "a value moved to the next row":
        name = found.spec.history_item_column
        lengths = values[name].lengths
        assert lengths is not None
        row = int(np.flatnonzero(lengths[:-1] > 0)[0])
        lengths = lengths.copy()
        lengths[row] -= 1
        lengths[row + 1] += 1
        values[name] = Values(flat=values[name].flat, lengths=lengths)
    for other in manifest.files:
        (copy / other.name).parent.mkdir(parents=True, exist_ok=True)
        (copy / other.name).write_bytes((found.root / other.name).read_bytes())
    body = json.loads((found.root / manifests.MANIFEST).read_text())
    write_file(str(copy / file.name), encode_rows(columns, values, rows=rows, rows_per_record=3))
    for each in body["files"]:
        if each["name"] == file.name:
            each["size"] = (copy / file.name).stat().st_size
    (copy / manifests.MANIFEST).write_text(json.dumps(body))
    return copy


def test_it_covers_every_part(found: Decoded, hashes: dict[str, SetHash]) -> None:
    assert set(hashes) == {file.part for file in found.manifest.files} - {"dead_letter"}
    for part, of in hashes.items():
        assert of.rows == found.manifest.rows(part)
        assert of.rows == 0 or int(of.digest, 16) > 0
    assert hashes["train"].rows > 50


def test_order_and_files_do_not_change_it(hashes: dict[str, SetHash], tmp_path: Path) -> None:
    events = list(EVENTS)
    random.Random(1).shuffle(events)
    other = config_of(small_data(partitions=5, shards=3, rows_per_record=1))
    again = run(other, write_tables(tmp_path, events, VIDEOS, USERS), tmp_path / "out")
    assert len(again.manifest.part("train")) == 3
    assert differing(set_hashes(again.root), hashes) == []
    assert dataset_hash(set_hashes(again.root)) == dataset_hash(hashes)


def test_another_packing_does_not_change_it(
    found: Decoded, hashes: dict[str, SetHash], tmp_path: Path
) -> None:
    assert set_hashes(rewrite(found, tmp_path, "train", "nothing")) == hashes


@pytest.mark.parametrize(
    "change", ["one bit", "a history turned round", "a value moved to the next row"]
)
def test_one_value_changes_its_part_only(
    found: Decoded, hashes: dict[str, SetHash], tmp_path: Path, change: str
) -> None:
    changed = set_hashes(rewrite(found, tmp_path, "train", change))
    assert differing(changed, hashes) == ["train"]
    assert changed["train"].rows == hashes["train"].rows
    assert dataset_hash(changed) != dataset_hash(hashes)


def test_a_lost_and_a_doubled_event_change_it(
    config: Config, hashes: dict[str, SetHash], tmp_path: Path
) -> None:
    fewer = EVENTS[:-1]
    again = run(config, write_tables(tmp_path, fewer, VIDEOS, USERS), tmp_path / "out")
    assert differing(set_hashes(again.root), hashes)


def test_lists_of_equal_values_differ_by_length() -> None:
    ones = np.ones(5, np.uint64)
    empty_last = list_hashes(ones, np.array([2, 3, 0]))
    assert len(set(empty_last.tolist())) == 3
    assert list_hashes(ones, np.array([3, 2]))[0] == empty_last[1]


def test_the_command_names_the_parts_that_differ(
    found: Decoded, hashes: dict[str, SetHash], tmp_path: Path
) -> None:
    other = rewrite(found, tmp_path, "train", "one bit")
    done = run_command("preprocessing.compare", f"--dataset={found.root}", f"--against={other}")
    assert (done.returncode, done.stdout) == (1, "")
    train = hashes["train"]
    assert f"train: found {train.rows} rows of " in done.stderr
    assert f"expected {train.rows} rows of {train.digest}, as in {found.root}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_gives_one_digest(found: Decoded, hashes: dict[str, SetHash]) -> None:
    same = [f"--dataset={found.root}", f"--against={found.root}", "--json"]
    result, _ = result_of("preprocessing.compare", *same)
    assert result["set_hash"] == dataset_hash(hashes)
    assert result["parts"] == {part: of.digest for part, of in hashes.items()}
