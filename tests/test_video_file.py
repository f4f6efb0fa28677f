"""A file of new videos: what preprocessing takes and refuses of a row, an update does."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.kinds import Bounded, Entity, LogZScore
from preprocessing.features import FeatureSpec, spec_of
from preprocessing.video_file import VideoFile, read_video_file
from tests.raw_logs import config_of, features, small_data, write_lines

GOOD: dict[str, Any] = {"video_id": "v"}


@pytest.fixture(scope="module")
def spec() -> FeatureSpec:
    numbers = {
        "bpm": LogZScore(column="bpm", entity=Entity.ITEM),
        "share": Bounded(column="share", entity=Entity.ITEM),
    }
    data = small_data(max_line_bytes=4_000, max_timestamp=2_000_000_000)
    return spec_of(config_of(data, **features(), **numbers))


def read(path: Path, spec: FeatureSpec) -> VideoFile:
    return read_video_file(path, spec, flag="add")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON, expected an object of the videos table"),
        ("[" * 1_900 + "]" * 1_900, "not JSON, expected"),
        (json.dumps({"video_id": "x" * 4_000}), "longer than 4000 bytes, expected"),
        ("[1]", "not a JSON object, expected"),
        ('{"video_id": "\\ud800"}', "not JSON, expected"),
        ('{"video_id": "x", "title": "\\ud800"}', "not JSON, expected"),
        ('{"bpm": 3}', "video_id: missing, found None"),
        ('{"video_id": "x", "bpm": "big"}', "bpm: not a number, found 'big'"),
        ('{"video_id": "x", "bpm": 1e39}', r"bpm: not finite, found 1e\+39"),
        ('{"video_id": "x", "bpm": -1}', "bpm: below 0, found -1"),
        ('{"video_id": "x", "share": -0.5}', "share: below 0, found -0.5"),
        ('{"video_id": "x", "duration_sec": 0}', "duration_sec: not above 0, found 0"),
        ('{"video_id": "x", "duration_sec": -3}', "duration_sec: not above 0, found -3"),
        ('{"video_id": "x", "content_vector": [1e39, 0]}', "content_vector: not finite, found"),
        ('{"video_id": "x", "content_vector": [1]}', "content_vector: not of length 2, found"),
        ('{"video_id": "x", "content_vector": [1, null]}', "content_vector: not a list of numbers"),
        ('{"video_id": "x", "tags": "a"}', "tags: not a list of strings, found 'a'"),
        ('{"video_id": "x", "upload_time": "noon"}', "upload_time: not seconds, a date.* 'noon'"),
        ('{"video_id": "x", "upload_time": -1}', "upload_time: below 0 UTC seconds, found -1"),
        (
            '{"video_id": "x", "upload_time": "2100-01-01"}',
            "upload_time: above 2000000000 UTC seconds, found",
        ),
    ],
)
def test_a_line_that_breaks_the_contract_is_named(
    line: str, message: str, spec: FeatureSpec, tmp_path: Path
) -> None:
    """Blank lines count as lines: the number is the one that an editor shows."""
    path = write_lines(tmp_path / "v.jsonl", [GOOD, "", line])
    with pytest.raises(UserError, match=rf"--add={path}, line 3: {message}"):
        read(path, spec)


def test_values_are_as_the_catalog_holds_them(spec: FeatureSpec, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"video_id": 7, "upload_time": "2025-01-01", "content_vector": [1, 2], "bpm": 2},
        {"video_id": "w", "tags": ["a", None, "", "b", "c"], "title": "one\u2028line"},
    ]
    # Read as one line, as in preprocessing: only a line feed ends it.
    found = read(write_lines(tmp_path / "v.jsonl", [json.dumps(rows[0]), _plain(rows[1])]), spec)
    first, second = found.columns.to_dicts()
    assert found.video_id == ["7", "w"] and found.line == [1, 2]
    assert first["upload_time"] == 1_735_689_600 and second["upload_time"] == 0
    assert (first["content_vector"], second["content_vector"]) == ([1.0, 2.0], [0.0, 0.0])
    assert (first["bpm"], second["bpm"]) == (2.0, -1.0)
    # Null and '' count for nothing, and a Bag holds `max_length` values.
    assert (first["tags"], second["tags"]) == ([], ["a", "b"])
    assert (first["title"], second["title"]) == ("", "one\u2028line")


def _plain(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def test_of_an_id_the_first_row_counts(spec: FeatureSpec, tmp_path: Path) -> None:
    rows = [{"video_id": "a", "bpm": 1}, {"video_id": "b"}, {"video_id": "a", "bpm": 2}]
    found = read(write_lines(tmp_path / "v.jsonl", rows), spec)
    assert found.video_id == ["a", "b"] and found.repeated == 1
    assert found.columns["bpm"].to_list() == [1.0, -1.0]


def test_gzip_and_a_byte_order_mark_are_read(spec: FeatureSpec, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()))
    assert read(path, spec).video_id == ["v"]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"--add=.*v\.jsonl\.gz is cut or damaged"):
        read(path, spec)


def test_a_file_without_a_video_is_refused(spec: FeatureSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--add=.*found no video, expected one a line"):
        read(write_lines(tmp_path / "v.jsonl", ["", " "]), spec)
    with pytest.raises(UserError, match="--add=.*none.jsonl: cannot be read: No such file"):
        read(tmp_path / "none.jsonl", spec)
    with pytest.raises(UserError, match="--add=.*: cannot be read: Is a directory"):
        read(tmp_path, spec)
