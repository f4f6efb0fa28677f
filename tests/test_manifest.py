"""A dataset is what its manifest says, whole or not at all."""

import dataclasses
import json
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.kinds import Vocabulary
from preprocessing import manifest as manifests
from preprocessing.features import spec_of
from preprocessing.manifest import Manifest, Splits
from tests.raw_logs import config_of, features, small_data

SPEC = spec_of(config_of(small_data()))


@pytest.fixture
def written(tmp_path: Path) -> Manifest:
    """A manifest over two small files, written to `tmp_path`."""
    for name, body in (("b.txt", b"two"), ("a.txt", b"one!")):
        (tmp_path / name).write_bytes(body)
    files = tuple(
        manifests.describe_file(tmp_path, name, part="train", rows=rows)
        for name, rows in (("b.txt", 3), ("a.txt", 4))
    )
    manifest = Manifest(
        kind="positives",
        config={},
        spec=SPEC.describe(),
        spec_fingerprint=SPEC.fingerprint(),
        assets_fingerprint="x",
        splits=Splits(start_time=1, validation_time=2, test_time=3, end_time=4),
        counters={"total": {"read": 7}},
        files=files,
        window_days=30,
        previous="y",
    )
    manifests.write(tmp_path, manifest)
    return manifest


def test_what_is_written_is_read(written: Manifest, tmp_path: Path) -> None:
    found = manifests.read(tmp_path)
    assert dataclasses.replace(found, spec={}) == dataclasses.replace(written, spec={})
    assert found.spec == json.loads(json.dumps(written.spec))
    assert [file.name for file in found.part("train")] == ["a.txt", "b.txt"]
    assert found.rows("train") == 7 and found.rows("none") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt", "manifest.json"}
    manifests.verify_hashes(tmp_path, found)


def test_a_directory_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--dataset: found no manifest\.json in "):
        manifests.read(tmp_path)


def test_a_manifest_of_another_format_is_refused(written: Manifest, tmp_path: Path) -> None:
    path = tmp_path / manifests.MANIFEST
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"format_version": 99}))
    with pytest.raises(UserError, match="found format_version 99, expected 1"):
        manifests.read(tmp_path)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UserError, match="cannot be read"):
        manifests.read(tmp_path)


def test_a_missing_or_cut_file_is_named(written: Manifest, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"on")
    with pytest.raises(UserError, match=r"a\.txt: found 2 bytes, expected 4 bytes"):
        manifests.read(tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"a\.txt: found nothing, expected 4 bytes"):
        manifests.read(tmp_path)


def test_a_changed_file_of_equal_size_is_found_by_its_hash(
    written: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"ONE!")
    found = manifests.read(tmp_path)
    with pytest.raises(UserError, match=r"a\.txt: found sha256 "):
        manifests.verify_hashes(tmp_path, found)


def test_other_features_or_rules_are_refused_by_name(written: Manifest, tmp_path: Path) -> None:
    found = manifests.read(tmp_path)
    manifests.require_spec(found, SPEC, where="--dataset")
    other = features() | {"country": Vocabulary(column="country", max_size=4)}
    with pytest.raises(UserError, match=r"features\.country\.max_size: found 3, expected 4"):
        manifests.require_spec(found, spec_of(config_of(small_data(), **other)), where="--dataset")
    with pytest.raises(UserError, match=r"data\.repeats: found False, expected True"):
        rules = config_of(small_data(repeats=True))
        manifests.require_spec(found, spec_of(rules), where="--dataset")


def test_what_shapes_the_model_only_is_free(written: Manifest, tmp_path: Path) -> None:
    found = manifests.read(tmp_path)
    free = features() | {"country": Vocabulary(column="country", max_size=3, dim=99)}
    config = config_of(small_data(shards=9, partitions=1, rows_per_record=1), **free)
    manifests.require_spec(found, spec_of(config), where="--dataset")


def test_assets_have_a_fingerprint_of_their_own() -> None:
    base = {"item_ids": ["a", "b"], "vocabularies": {"c": ["x"]}, "statistics": {}}
    base["text_encoders"] = {"title": "hashing-1"}
    prints = {
        manifests.assets_fingerprint(**(base | change))  # type: ignore[arg-type]
        for change in (
            {},
            {"item_ids": ["b", "a"]},
            {"vocabularies": {"c": ["y"]}},
            {"statistics": {"n": {"mean": 1.0, "std": 2.0}}},
            {"text_encoders": {"title": "hashing-2"}},
        )
    }
    assert len(prints) == 5
