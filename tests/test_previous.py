"""A dataset that continues an earlier one, and a window over the log."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.kinds import Entity, Vocabulary
from preprocessing.description.facts import origin_of
from preprocessing.job import preprocess
from preprocessing.sethash import differing, set_hashes
from tests.decoded import Decoded
from tests.quiet import QUIET
from tests.raw_logs import (
    DAY_S,
    START,
    config_of,
    features,
    random_log,
    random_users,
    random_videos,
    small_data,
    write_tables,
)

EVENTS = random_log(21, users=14, videos=14, events=500)
VIDEOS, USERS = random_videos(21, videos=14), random_users(21, users=14)
EARLY = [e for e in EVENTS if e["timestamp"] < START + 4 * DAY_S and e["video_id"] > "v13"]
LATE = [e for e in EVENTS if e["timestamp"] >= START + DAY_S and e["video_id"] != "v8"]
LATE_VIDEOS = [v | {"category": f"new {i % 3}"} for i, v in enumerate(VIDEOS)]
LATE_VIDEOS = [v for v in LATE_VIDEOS if v["video_id"] != "v8"]
KINDS = features() | {
    "category": Vocabulary(column="category", entity=Entity.ITEM, max_size=6),
    "country": Vocabulary(column="country", max_size=6),
}


def assets_of(dataset: Decoded, part: str) -> dict[str, Any]:
    return json.loads((dataset.root / dataset.manifest.part(part)[0].name).read_text())


def make(tables: dict[str, str], output: Path, *, data: Any = None, **given: Any) -> Decoded:
    config = config_of(data or small_data(), **KINDS)
    preprocess(config, tables=tables, output=output, display=QUIET, **given)
    return Decoded(output, config)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    root = tmp_path_factory.mktemp("earlier")
    users = [u for u in USERS if u.get("country") != "es"]
    return make(write_tables(root, EARLY, VIDEOS, users), root / "dataset")


@pytest.fixture(scope="module")
def late_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_tables(tmp_path_factory.mktemp("late"), LATE, LATE_VIDEOS, USERS)


@pytest.fixture(scope="module")
def alone(late_tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    return make(late_tables, tmp_path_factory.mktemp("alone") / "dataset")


@pytest.fixture(scope="module")
def continued(
    earlier: Decoded, late_tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Decoded:
    output = tmp_path_factory.mktemp("continued") / "dataset"
    return make(late_tables, output, previous=earlier.root)


def test_ids_of_the_earlier_dataset_stay_and_new_ones_follow(
    earlier: Decoded, continued: Decoded, alone: Decoded
) -> None:
    kept = [row for row in earlier.catalog if row["in_vocabulary"]]
    now = continued.catalog
    assert 3 < len(kept) < 12
    assert [row["video_id"] for row in now[: len(kept)]] == [row["video_id"] for row in kept]
    assert [row["item"] for row in now] == list(range(1, len(now) + 1))
    own = [row["in_vocabulary"] for row in now]
    assert own == sorted(own, reverse=True) and len(kept) < sum(own) <= 12
    known = [row["known_by_train_end"] for row in now]
    assert known == sorted(known, reverse=True) and sum(known) >= sum(own)
    counts = [row["train_count"] for row in now[len(kept) : sum(own)]]
    assert counts == sorted(counts, reverse=True) and min(counts) > 0
    plain = {row["video_id"]: row for row in alone.catalog}
    for row in now:
        if row["video_id"] in plain:
            assert row["train_count"] == plain[row["video_id"]]["train_count"]
            assert row["category"] == plain[row["video_id"]]["category"]
            first = plain[row["video_id"]]["first_seen"]
            assert row["first_seen"] <= first or row["video_id"] not in {
                e["video_id"] for e in LATE
            }
    vocabularies = assets_of(earlier, "vocabularies"), assets_of(continued, "vocabularies")
    for name, values in vocabularies[0].items():
        assert vocabularies[1][name][: len(values)] == values
    assert len(vocabularies[1]["category"]) == 6 > len(vocabularies[0]["category"])
    assert vocabularies[1]["country"] == [*vocabularies[0]["country"], "es"]
    assert assets_of(continued, "statistics") == assets_of(earlier, "statistics")


def test_a_video_that_is_gone_keeps_its_id_and_columns(
    earlier: Decoded, continued: Decoded, alone: Decoded
) -> None:
    before = next(row for row in earlier.catalog if row["video_id"] == "v8")
    assert before["in_vocabulary"] and "v8" not in {row["video_id"] for row in alone.catalog}
    now = continued.catalog[before["item"] - 1]
    assert now == before | {"train_count": 0}


def test_rows_are_those_of_the_log_alone(continued: Decoded, alone: Decoded) -> None:
    changed = differing(set_hashes(continued.root), set_hashes(alone.root))
    assert changed == ["catalog", "statistics", "vocabularies"]
    assert continued.manifest.assets_fingerprint != alone.manifest.assets_fingerprint


def test_the_manifest_says_what_a_dataset_continues(
    earlier: Decoded, continued: Decoded, alone: Decoded
) -> None:
    assert continued.manifest.previous == earlier.manifest.assets_fingerprint != ""
    assert earlier.manifest.previous == alone.manifest.previous == ""
    assert origin_of(alone.manifest) == []
    (said,) = origin_of(continued.manifest)
    assert earlier.manifest.assets_fingerprint[:12] in said and "--previous" in said


def test_features_must_be_the_same(
    earlier: Decoded, late_tables: dict[str, str], tmp_path: Path
) -> None:
    config = config_of(small_data())
    with pytest.raises(UserError, match=r"^--previous=.*: its features .*: category\.max_size: "):
        preprocess(
            config, tables=late_tables, output=tmp_path / "o", previous=earlier.root, display=QUIET
        )
    with pytest.raises(UserError, match=r"^--previous: found no manifest\.json in "):
        preprocess(
            config, tables=late_tables, output=tmp_path / "o", previous=tmp_path, display=QUIET
        )
    assert not (tmp_path / "o").exists()


def test_a_window_gives_what_a_log_of_those_days_gives(tmp_path: Path) -> None:
    since = START + 3 * DAY_S  # the log has six days
    tables = write_tables(tmp_path / "all", EVENTS, VIDEOS, USERS)
    newest = [e for e in EVENTS if e["timestamp"] >= since]
    cut = write_tables(tmp_path / "cut", newest, VIDEOS, USERS)

    found = make(tables, tmp_path / "a", window_days=3)
    expected = make(cut, tmp_path / "b", data=small_data(partitions=7))

    assert differing(set_hashes(found.root), set_hashes(expected.root)) == []
    assert (found.manifest.window_days, expected.manifest.window_days) == (3, 0)
    assert origin_of(found.manifest) == ["Of the last 3 days of the log (--window_days)"]
    assert found.manifest.splits.validation_time == expected.manifest.splits.validation_time
    keys = ("event", "user_id", "video_id", "timestamp")
    for number in range(3):
        own = EVENTS[number::3]
        counters = found.manifest.counters["files"][f"{tables['events']}/{number}.jsonl"]
        left = counters["read"] - counters["duplicate"] - counters["valid"]
        assert counters["read"] == len(own) and counters["outside_window"] == left
    total = found.manifest.counters["total"]
    outside = {tuple(e[k] for k in keys) for e in EVENTS if e["timestamp"] < since}
    assert total["outside_window"] == len(outside)
    assert (
        make(tables, tmp_path / "c", window_days=6).manifest.counters["total"]["outside_window"]
        == 0
    )
