"""The job as a whole: what it writes beside rows, and what must not change it."""

import json
import os
import random
import shutil
import stat
from collections import Counter
from math import log1p
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs.errors import UserError
from configs.kinds import LogZScore
from configs.schema import Config, Split, SplitBy
from preprocessing import assets
from preprocessing import manifest as manifests
from preprocessing.features import spec_of
from preprocessing.item_statistics import StatisticsAt, item_counts
from preprocessing.job import preprocess
from preprocessing.manifest import Splits
from preprocessing.outputs import write_summary
from preprocessing.text import HashingEncoder
from tests.decoded import Decoded, run
from tests.quiet import QUIET
from tests.raw_logs import (
    DAY_S,
    START,
    Row,
    config_of,
    features,
    raw_log,
    small_data,
    write_lines,
    write_tables,
)
from tests.reference_rows import Reference

EVENTS, VIDEOS, USERS = LOG = raw_log(5)
NEXT_QUERIES = 3
MINIMAL = ("followers", "history", "item_id")
NO_STATISTICS = pl.DataFrame(schema={"item": pl.Int64, "day": pl.Int64, "newest": pl.Int64})


@pytest.fixture(scope="module")
def config() -> Config:
    return config_of(small_data(max_next_queries=NEXT_QUERIES))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The log as JSON Lines."""
    return LOG.write(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def found(config: Config, raw: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    return run(config, raw, tmp_path_factory.mktemp("dataset") / "dataset")


@pytest.fixture(scope="module")
def expected(config: Config) -> Reference:
    return Reference(config, EVENTS, VIDEOS, USERS)


def test_every_event_is_counted(found: Decoded, expected: Reference) -> None:
    counters = found.manifest.counters
    for part in (counters["total"], *counters["files"].values()):
        assert part["read"] == sum(part["dead_letter"].values()) + part["duplicate"] + part["valid"]
        assert part["valid"] == part["positive"] + part["not_positive"]
        assert part["positive"] == sum(part["rows"].values()) + sum(part["filtered"].values())
    total = counters["total"]
    assert len(counters["files"]) == 3
    assert total["read"] == len(EVENTS) and total["valid"] == len(expected.events)
    assert total["not_positive"] == expected.counters["not_positive"]
    for reason, count in total["filtered"].items():
        assert count == expected.counters[reason] > 0
    for split, count in total["rows"].items():
        assert count == len(expected.of_split(split)) > 0
    assert total["rows"]["train"] == found.manifest.rows("train")
    known = {row["video_id"] for row in VIDEOS}, {row["user_id"] for row in USERS}
    unknown = [e for e in expected.events if e["video_id"] not in known[0]]
    assert counters["unknown_video"] == len(unknown) > 0
    unknown = [e for e in expected.events if e["user_id"] not in known[1]]
    assert counters["unknown_user"] == len(unknown) > 0


def test_next_queries_are_the_same_few_however_many_groups(
    found: Decoded, expected: Reference
) -> None:
    for split in ("validation", "test"):
        kept = found.rows(f"queries/{split}/next")
        everything = expected.label_queries(split, order="as rows")
        assert len(kept) == NEXT_QUERIES < len(everything)
        assert all(query in everything for query in kept)


def test_catalog_numbers_vocabulary_then_known_then_the_rest(
    found: Decoded, expected: Reference
) -> None:
    trained = Counter(label["row"]["video_id"] for label in expected.of_split("train"))
    first_seen: dict[str, int] = {}
    for event in expected.events:
        video, time = event["video_id"], event["timestamp"]
        first_seen[video] = min(first_seen.get(video, time), time)
    logged = {row["video_id"]: row for row in VIDEOS}
    end = expected.validation_time

    def is_known(video: str) -> bool:
        upload = logged.get(video, {}).get("upload_time", 0)
        seen = first_seen.get(video, 0)
        return 0 < upload < end or 0 < seen < end

    def place(video: str) -> tuple[object, ...]:
        return (not is_known(video), video)

    everything = {*first_seen, *logged}
    by_count = sorted(trained, key=lambda video: (-trained[video], video))
    vocabulary = by_count[:12]  # the feature's max_size
    assert len(by_count) > 12
    rest = sorted(everything - set(vocabulary), key=place)
    assert [row["video_id"] for row in found.catalog] == vocabulary + rest
    for number, row in enumerate(found.catalog, 1):
        video = row["video_id"]
        assert row["item"] == number
        assert row["in_vocabulary"] == (number <= 12)
        assert row["known_by_train_end"] == is_known(video)
        assert row["train_count"] == trained[video]
        assert row["first_seen"] == first_seen.get(video, 0)
        assert row["upload_time"] == logged.get(video, {}).get("upload_time", 0)
        assert row["category"] == logged.get(video, {}).get("category", "")
        assert row["content_vector"] == logged.get(video, {}).get("content_vector", [0.0, 0.0])
        tags = [tag for tag in logged.get(video, {}).get("tags", []) if tag]
        assert row["tags"] == tags[:2]
        title = logged.get(video, {}).get("title", "")
        np.testing.assert_array_equal(row["title_embedding"], HashingEncoder().encode([title])[0])
    assert {len(row["tags"]) for row in found.catalog} == {0, 1, 2}
    assert len({tuple(row["title_embedding"]) for row in found.catalog}) == 3  # cats, dogs, none


def test_item_statistics_hold_every_change(found: Decoded, expected: Reference) -> None:
    counts = item_counts(found.spec)
    rows: dict[int, list[Row]] = {}
    for row in found.table("item_statistics"):
        rows.setdefault(row["item"], []).append(row)
    first, last = START // DAY_S - 1, expected.end_time // DAY_S + 4
    assert {row["day"] for of_item in rows.values() for row in of_item} <= {*range(first, last)}
    for item in found.catalog:
        before = dict.fromkeys(counts, 0)
        days = {row["day"]: row for row in rows.get(item["item"], [])}
        for day in range(first, last):
            now = {
                name: expected.summed(expected.item_events(item["video_id"], day, count), count)
                for name, count in counts.items()
            }
            assert (day in days) == (now != before)
            if day in days:
                assert {name: days[day][name] for name in counts} == now
            before = now


def test_vocabularies_are_of_train_only(found: Decoded, expected: Reference) -> None:
    body = json.loads((found.root / found.manifest.part("vocabularies")[0].name).read_text())
    rows = expected.train_rows()
    known = [row for row in found.catalog if row["known_by_train_end"]]
    for name, of, column, size in (
        ("country", rows, "country", 3),
        ("gender", rows, "gender", 8),
        ("device", rows, "device", 8),
        ("category", known, "category", 3),
        ("tags", known, "tags", 3),
        ("interests", rows, "interests", 9),
    ):
        values = [row[column] if type(row[column]) is list else [row[column]] for row in of]
        counts = Counter(value for each in values for value in each if value)
        common = sorted(counts, key=lambda value: (-counts[value], value))
        assert body[name] == common[:size]
    assert set(body) == {"country", "gender", "device", "category", "tags", "interests"}


def test_scales_are_of_what_the_model_sees(
    found: Decoded, expected: Reference, config: Config
) -> None:
    body = json.loads((found.root / found.manifest.part("statistics")[0].name).read_text())
    items = {row["video_id"]: row for row in found.catalog}
    rows = expected.train_rows()

    def seen(name: str, feature: LogZScore, row: Row) -> float | None:
        if name in ("positives", "impressions_2d"):
            assert feature.count is not None
            return len(expected.item_events(row["item"], row["day"], feature.count))
        if name in ("positive_count", "skips_2d"):
            return float(row[name])
        if name == "watched_2d":
            return row[name] / 60_000 / 2
        if name == "followers":
            return row["followers"] if row["followers"] >= 0 else None
        at = row["day"] * DAY_S if name == "age_days" else row["timestamp"]
        since = items[row["item"]]["upload_time"] if name == "age_days" else row["signup_date"]
        return max(0.0, (at - since) / DAY_S) if since else None

    scaled = [(n, f) for n, f in config.features.items() if isinstance(f, LogZScore)]
    assert [name for name, _ in scaled] == list(body)
    for name, feature in scaled:
        values = [log1p(x) for row in rows if (x := seen(name, feature, row)) is not None]
        assert len(values) > 20
        assert body[name]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert body[name]["std"] == pytest.approx(np.std(values), abs=1e-6)


def test_users_hold_the_latest_state(found: Decoded, expected: Reference) -> None:
    users = found.table("users")
    ids = [row["user_id"] for row in users]
    assert ids == sorted({e["user_id"] for e in EVENTS} | {row["user_id"] for row in USERS})
    for row in users:
        own = [e for e in expected.events if e["user_id"] == row["user_id"]]
        positives = [e for e in own if e["positive"]]
        assert row["as_of"] == expected.end_time
        assert row["positive_count"] == len(positives)
        assert row["history_item_id"] == [e["video_id"] for e in positives[-4:]]
        assert row["history_timestamp"] == [e["timestamp"] for e in positives[-4:]]
        assert row["device"] == (own[-1].get("device", "") if own else "")
    assert set(users[0]) == {
        "user_id",
        "as_of",
        *(c.name for c in found.spec.request_columns if c.name != "timestamp"),
    }


def test_positives_hold_every_label(found: Decoded, expected: Reference) -> None:
    users = [row["user_id"] for row in found.table("users")]
    names = [row["video_id"] for row in found.catalog]
    rows = [
        (users[row["user"]], names[row["item"] - 1], row["timestamp"], row["split"])
        for row in found.table("positives")
    ]
    assert rows == [
        (e["user_id"], e["video_id"], e["timestamp"], label["split"])
        for label in expected.labels
        for e in [label["row"]]
    ]


def everything_in(dataset: Decoded) -> dict[str, object]:
    """All that a dataset says, but for how it is cut into files."""
    parts = {file.part for file in dataset.manifest.files}
    records = {p: dataset.rows(p) for p in parts if p == "train" or p.startswith("queries/")}
    tables = {p: dataset.table(p) for p in ("catalog", "item_statistics", "users", "positives")}
    assets = {
        p: (dataset.root / dataset.manifest.part(p)[0].name).read_text()
        for p in ("vocabularies", "statistics")
    }
    return {**records, **tables, **assets, "splits": dataset.manifest.splits}


def test_files_formats_order_and_processes_change_nothing(found: Decoded, tmp_path: Path) -> None:
    events = list(EVENTS)
    random.Random(0).shuffle(events)
    frame = pl.DataFrame(events, infer_schema_length=None)
    (tmp_path / "day=1").mkdir()
    frame[:200].cast({"timestamp": pl.UInt32, "position": pl.Int8}).write_parquet(
        tmp_path / "day=1" / "b.parquet"
    )
    frame[200:].write_parquet(tmp_path / "day=1" / "a.parquet")
    users = pl.DataFrame(USERS, infer_schema_length=None).with_columns(
        pl.from_epoch("signup_date").cast(pl.Datetime("us")), pl.col("gender").cast(pl.Categorical)
    )
    users.write_parquet(tmp_path / "users.parquet")
    iso = pl.Series([row.get("upload_time") for row in VIDEOS])
    uploads = pl.from_epoch(iso).dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list()
    videos = [row | {"upload_time": upload} for row, upload in zip(VIDEOS, uploads, strict=True)]
    tables = {
        "events": str(tmp_path / "day=1" / "*.parquet"),
        "videos": str(write_lines(tmp_path / "videos.ndjson", reversed(videos))),
        "users": str(tmp_path / "users.parquet"),
    }
    other = config_of(
        small_data(max_next_queries=NEXT_QUERIES, partitions=40, shards=3, rows_per_record=1)
    )

    again = run(
        other,
        tables,
        tmp_path / "out",
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    )

    assert len(again.manifest.part("train")) == 3
    assert len(again.records("train")) == again.manifest.rows("train")
    assert everything_in(again) == everything_in(found)
    assert again.manifest.spec_fingerprint == found.manifest.spec_fingerprint
    assert again.manifest.assets_fingerprint == found.manifest.assets_fingerprint


def test_later_events_change_no_train_row(tmp_path: Path) -> None:
    cut = START + 4 * DAY_S
    split = Split(by=SplitBy.DATE, validation_date="2023-11-19", test_date="2023-11-20")
    config = config_of(small_data(split=split, label_window_sec=2 * DAY_S, repeats=True))
    before = [e for e in EVENTS if e["timestamp"] < cut] + [
        {"event": "share", "user_id": "u1", "video_id": "v1", "timestamp": cut + 9}
    ]
    pairs = [(f"u{u}", f"v{v}") for u in range(12) for v in range(18)]
    later = [
        {"event": event, "user_id": user, "video_id": video, "timestamp": cut + delay}
        for user, video in pairs
        for event, delay in (("dislike", 0), ("like", 1), ("impression", 2), ("report", DAY_S))
    ]

    first = run(config, write_tables(tmp_path / "1", before, VIDEOS, USERS), tmp_path / "a")
    second = run(
        config, write_tables(tmp_path / "2", before + later, VIDEOS, USERS), tmp_path / "b"
    )

    assert first.manifest.splits.validation_time == cut
    rows = first.rows("train")
    assert len(rows) > 50
    assert any(row["label_time"] + 2 * DAY_S > cut for row in rows)
    assert second.rows("train") == rows
    assert second.manifest.rows("queries/validation/next") != first.manifest.rows(
        "queries/validation/next"
    )
    for part in ("vocabularies", "statistics"):
        texts = [(d.root / d.manifest.part(part)[0].name).read_text() for d in (first, second)]
        assert texts[0] == texts[1]


def test_rows_come_in_an_order_of_their_own(found: Decoded) -> None:
    times: list[int] = []
    for example in found.records("train"):
        times += example.features.feature["timestamp"].int64_list.value
    steps = np.sign(np.diff(times))
    assert 0.2 < np.mean(steps > 0) < 0.8


def test_dead_letters_are_kept_and_counted(tmp_path: Path) -> None:
    broken = ["{", '{"event": "like"}', json.dumps(EVENTS[0] | {"watch_sec": -1}), "7", ""]
    tables = LOG.write(tmp_path)
    path = write_lines(tmp_path / "events" / "x.jsonl", [*EVENTS[:9], *broken])
    config = config_of(small_data(max_bad_fraction=0.01))

    found = run(config, tables, tmp_path / "out")

    file = found.manifest.part("dead_letter")[0]
    letters = [json.loads(line) for line in (found.root / file.name).read_text().splitlines()]
    assert letters == [
        {"file": str(path), "line": 10, "reason": "not JSON", "raw": "{"},
        {"file": str(path), "line": 11, "reason": "user_id: missing", "raw": broken[1]},
        {"file": str(path), "line": 12, "reason": "watch_sec: below 0", "raw": broken[2]},
        {"file": str(path), "line": 13, "reason": "not a JSON object", "raw": "7"},
    ]
    assert stat.S_IMODE(os.stat(found.root / file.name).st_mode) == 0o600
    counters = found.manifest.counters["files"][str(path)]
    assert counters["dead_letter"] == {letter["reason"]: 1 for letter in letters}
    assert counters["read"] == 13 and counters["duplicate"] == 9 and counters["valid"] == 0


def test_a_rerun_replaces_and_a_failed_one_leaves_all(
    config: Config, raw: dict[str, str], found: Decoded, tmp_path: Path
) -> None:
    output = tmp_path / "dataset"
    shutil.copytree(found.root, output)
    first = manifests.read(output)
    written = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    empty = write_lines(tmp_path / "none.jsonl", [])
    with pytest.raises(UserError, match="found no rows"):
        preprocess(config, tables=raw | {"events": str(empty)}, output=output, display=QUIET)
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file()} == written
    assert manifests.read(output) == first

    second = run(config_of(small_data(shards=1)), raw, output).manifest

    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert files == {manifests.MANIFEST, *(file.name for file in second.files)}
    assert not files & {file.name for file in first.files}
    manifests.verify_hashes(output, second)


def test_one_run_at_a_time(config: Config, raw: dict[str, str], tmp_path: Path) -> None:
    from preprocessing.job import run_folder

    with run_folder(tmp_path):
        with pytest.raises(UserError, match="another run"):
            preprocess(config, tables=raw, output=tmp_path, display=QUIET)


def test_sums_of_many_rows_are_exact_and_need_not_fit_in_64_bits(tmp_path: Path) -> None:
    config = config_of(small_data(), **{n: f for n, f in features().items() if n in MINIMAL})
    spec = spec_of(config)
    rows = 30_000
    train = pl.DataFrame(
        {
            "item": np.ones(rows, np.int64),
            "day": np.full(rows, 7),
            "timestamp": np.full(rows, 7 * DAY_S),
            "followers": np.full(rows, 3e38, np.float32),
        }
    )
    sums = assets.scale_sums(
        train,
        spec=spec,
        catalog=pl.DataFrame(),
        statistics=StatisticsAt(NO_STATISTICS),
    )
    each = round(log1p(float(np.float32(3e38))) * 1e6)
    assert sums == {"followers": {"n": rows, "sum": rows * each, "squares": rows * each**2}}
    assert sums["followers"]["squares"] > 2**64
    assert assets.scales(sums, spec) == {"followers": {"mean": each / 1e6, "std": 1.0}}
    splits = Splits(start_time=0, validation_time=1, test_time=2, end_time=3)
    tally = {"unknown_user": 0, "duplicate_user": 0, "scales": sums}
    write_summary([], str(tmp_path), splits, {}, {}, tally, (b"", 0), (b"", 0))
    assert json.loads((tmp_path / "summary.json").read_text())["unknown_user"] == 0
