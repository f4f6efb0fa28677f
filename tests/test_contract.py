"""What the raw log contract takes, what it refuses, and why."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from configs.kinds import Entity, LogZScore, Vocabulary
from preprocessing.contract import Table, check_parquet, check_present, tables_of
from preprocessing.features import spec_of
from preprocessing.parsing import Parsed, parse_batch, parse_lines
from preprocessing.sources import list_files, read_lines
from tests.raw_logs import START, config_of, features, small_data, write_lines

GOOD: dict[str, Any] = {
    "event": "watch",
    "user_id": "u",
    "video_id": "v",
    "timestamp": START,
    "watch_sec": 3,
}


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return tables_of(spec_of(config_of(small_data(min_timestamp=START, max_watch_sec=100))))


def parse_json(table: Table, *rows: dict[str, Any] | bytes) -> Parsed:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return parse_lines(lines, 1, table)


def parse_arrow(table: Table, **columns: pa.Array) -> Parsed:
    return parse_batch(pa.table(columns), 1, table)


NO_EVENT = "event: none of impression, click, watch, like, share, dislike, follow, report, skip"
BROKEN: list[tuple[dict[str, Any] | bytes, str]] = [
    (b'{"event": "like"', "not JSON"),
    (b'{"event": "like", "user_id": "\xff"}', "not UTF-8"),
    (b"[1]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (json.dumps(GOOD).replace("3", "NaN").encode(), "not JSON"),
    (json.dumps(GOOD).replace("3", "Infinity").encode(), "not JSON"),
    (json.dumps(GOOD).replace("3", "1e999").encode(), "not JSON"),
    (GOOD | {"event": "purchase"}, NO_EVENT),
    (GOOD | {"event": None}, "event: missing"),
    (GOOD | {"event": 3}, NO_EVENT),
    (GOOD | {"user_id": ""}, "user_id: missing"),
    (GOOD | {"user_id": ["u"]}, "user_id: not a string"),
    (GOOD | {"user_id": 1.5}, "user_id: not a string"),
    ({k: v for k, v in GOOD.items() if k != "video_id"}, "video_id: missing"),
    (GOOD | {"timestamp": str(START)}, "timestamp: not an integer, UTC seconds"),
    (GOOD | {"timestamp": START + 0.5}, "timestamp: not an integer, UTC seconds"),
    (GOOD | {"timestamp": True}, "timestamp: not an integer, UTC seconds"),
    (GOOD | {"timestamp": START - 1}, f"timestamp: below {START} UTC seconds"),
    (GOOD | {"timestamp": START * 1000}, "timestamp: above 4102444800 UTC seconds"),
    (GOOD | {"timestamp": 2**70}, "timestamp: not an integer, UTC seconds"),
    (GOOD | {"watch_sec": -1}, "watch_sec: below 0"),
    (GOOD | {"watch_sec": 101}, "watch_sec: above 100"),
    (GOOD | {"watch_sec": "3"}, "watch_sec: not a number"),
    (GOOD | {"video_duration": 0}, "video_duration: not above 0"),
    (GOOD | {"video_duration": 1e300}, "video_duration: not finite"),
    (GOOD | {"position": -1}, "position: below 0"),
    (GOOD | {"propensity": 1.5}, "propensity: above 1"),
    (GOOD | {"device": {"os": "ios"}}, "device: not a string"),
]


@pytest.mark.parametrize(
    ("line", "reason"), BROKEN, ids=[f"{r}-{i}" for i, (_, r) in enumerate(BROKEN)]
)
def test_a_broken_line_goes_aside_with_its_reason(
    line: dict[str, Any] | bytes, reason: str, tables: dict[str, Table]
) -> None:
    parsed = parse_json(tables["events"], GOOD, line, GOOD)
    assert parsed.rows["line"].to_list() == [1, 3]
    assert parsed.dead["line"].to_list() == [2]
    assert parsed.dead["reason"].to_list() == [reason]
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    assert parsed.dead["raw"].to_list() == [raw.decode(errors="backslashreplace")]


def test_raw_is_kept_to_a_limit(tables: dict[str, Table]) -> None:
    parsed = parse_json(tables["events"], b"x" * 5000)
    assert len(parsed.dead["raw"][0]) == 1024


def test_good_lines_give_typed_columns(tables: dict[str, Table]) -> None:
    bom = b"\xef\xbb\xbf" + json.dumps(GOOD | {"user_id": 7, "device": True}).encode()
    more = GOOD | {"event": "share", "position": 3, "unknown": [1], "watch_sec": None}
    parsed = parse_json(tables["events"], bom, b"", b"  \r", more)
    assert len(parsed.dead) == 0
    rows = parsed.rows.to_dicts()
    assert [row["line"] for row in rows] == [1, 4]
    assert rows[0]["user_id"] == "7" and rows[0]["device"] == "true"
    assert rows[0]["watch_sec"] == 3.0 and rows[1]["watch_sec"] is None
    assert rows[0]["event"] == 2 and rows[1]["event"] == 4  # places in the contract's list
    assert rows[1]["position"] == 3 and rows[0]["position"] is None
    assert "unknown" not in rows[0]
    assert parsed.present == {*GOOD, "position", "device"}


def test_users_and_videos_take_times_and_vectors(tables: dict[str, Table]) -> None:
    users = parse_json(
        tables["users"],
        {"user_id": "a", "signup_date": "2023-11-15", "profile": [1, 2.5]},
        {"user_id": "b", "signup_date": "2023-11-15T01:00:00+01:00"},
        {"user_id": "c", "signup_date": 1_700_006_400},
        {"user_id": "d", "signup_date": "yesterday"},
        {"user_id": "e", "profile": [1]},
        {"user_id": "f", "profile": [1, 1e39]},
        {"user_id": "g", "profile": [1, "x"]},
        {"user_id": "h", "signup_date": 1_700_006_400_000},
        {"user_id": "i", "followers": -3},
    )
    assert users.rows["signup_date"].to_list() == [START] * 3
    assert users.rows["profile"].to_list() == [[1.0, 2.5], None, None]
    assert dict(zip(users.dead["line"], users.dead["reason"], strict=True)) == {
        4: "signup_date: not seconds, a date, a timestamp or an ISO 8601 string",
        5: "profile: not of length 2",
        6: "profile: not finite",
        7: "profile: not a list of numbers",
        8: "signup_date: above 4102444800 UTC seconds",
        9: "followers: below 0",
    }


def test_lists_of_strings_take_what_strings_take(tables: dict[str, Table]) -> None:
    good = [["a", 7, True, None, ""], [], None]
    bad = ["a", [1.5], [["a"]], {"a": 1}]
    rows = [{"video_id": f"v{i}", "tags": tags} for i, tags in enumerate(good + bad)]
    parsed = parse_json(tables["videos"], *rows)
    assert parsed.rows["tags"].to_list() == [["a", "7", "true", None, ""], [], None]
    assert parsed.dead["reason"].to_list() == ["tags: not a list of strings"] * 4

    columns = {"video_id": pa.array(["a", "b"])}
    for tags, expected in (
        (pa.array([["x", None], None]), [["x", None], None]),
        (pa.array([[1, 2], []], pa.large_list(pa.int8())), [["1", "2"], []]),
        (pa.array([[b"x"], [b"\xff"]]), [["x"]]),
        (pa.array([[], []]), [[], []]),
    ):
        table = pa.table(columns | {"tags": tags})
        check_parquet("some.parquet", table.schema, tables["videos"])
        assert parse_batch(table, 1, tables["videos"]).rows["tags"].to_list() == expected
    with pytest.raises(UserError, match="'tags': found string, expected a list of strings"):
        wrong = pa.table(columns | {"tags": pa.array(["x", "y"])})
        check_parquet("some.parquet", wrong.schema, tables["videos"])


def test_parquet_types_are_taken_in_their_stride(tables: dict[str, Table]) -> None:
    moment = datetime(2023, 11, 15, tzinfo=UTC)
    for signup in (
        pa.array([START], pa.int64()),
        pa.array([START], pa.uint32()),
        pa.array([moment.date()], pa.date32()),
        pa.array([moment], pa.timestamp("ns", tz="UTC")),
        pa.array([moment.replace(tzinfo=None)], pa.timestamp("s")),
        pa.array(["2023-11-15"]),
    ):
        users = parse_arrow(
            tables["users"],
            user_id=pa.array([7], pa.int16()),
            signup_date=signup,
            country=pa.array(["de"]).dictionary_encode(),
            gender=pa.array([b"f"]),
            followers=pa.nulls(1),
            profile=pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
        )
        row = users.rows.to_dicts()[0]
        assert row["signup_date"] == START, signup.type
        assert row["user_id"] == "7" and row["country"] == "de" and row["gender"] == "f"
        assert row["followers"] is None and row["profile"] == [1.0, 2.0]


def test_parquet_rows_break_the_contract_too(tables: dict[str, Table]) -> None:
    events = parse_arrow(
        tables["events"],
        event=pa.array(["like", "like", "nod", "like"]),
        user_id=pa.array([b"u", b"\xff", b"u", None], pa.binary()),
        video_id=pa.array(["v"] * 4),
        timestamp=pa.array([START, START, START, 2**64 - 1], pa.uint64()),
        watch_sec=pa.array([float("nan"), 1, 1, 1]),
    )
    assert len(events.rows) == 0
    assert events.dead["reason"].to_list() == [
        "watch_sec: not finite",
        "user_id: not a string",
        NO_EVENT,
        "user_id: missing",
    ]
    assert '"event": "nod"' in events.dead["raw"][2]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "timestamp",
            pa.array(["1"]),
            "column 'timestamp': found string, expected an integer, UTC",
        ),
        ("watch_sec", pa.array(["1"]), "column 'watch_sec': found string, expected a number"),
        ("event", pa.array([1.5]), "column 'event': found double, expected a string"),
        ("device", pa.array([["x"]]), "column 'device': found list.* expected a string"),
        ("timestamp", None, "found no column 'timestamp', expected it to hold an integer"),
    ],
)
def test_parquet_columns_are_checked_before_rows(
    column: str, values: pa.Array | None, message: str, tables: dict[str, Table]
) -> None:
    good = {name: pa.array([value]) for name, value in GOOD.items()}
    chosen = {n: a for n, a in (good | {column: values}).items() if a is not None}
    with pytest.raises(UserError, match=f"--events: some.parquet: {message}"):
        check_parquet("some.parquet", pa.table(chosen).schema, tables["events"])


def test_all_that_is_wrong_with_a_parquet_file_is_named(tables: dict[str, Table]) -> None:
    wrong = pa.table({"event": pa.array(["like"]), "watch_sec": pa.array(["1"])})
    with pytest.raises(UserError) as said:
        check_parquet("some.parquet", wrong.schema, tables["events"])
    assert str(said.value) == (
        "--events: some.parquet: "
        "found no column 'user_id', expected it to hold a string; "
        "found no column 'video_id', expected it to hold a string; "
        "found no column 'timestamp', expected it to hold an integer, UTC seconds; "
        "column 'watch_sec': found string, expected a number"
    )


def test_features_must_find_their_columns(tables: dict[str, Table]) -> None:
    """All are named at once, with every feature that reads them."""
    users, videos = tables["users"], tables["videos"]
    of_users = {"user_id", "country", "gender", "age", "signup_date", "followers", "interests"}
    of_videos = {*videos.fields} - {"upload_time", "tags"}
    with pytest.raises(UserError) as said:
        check_present([users, videos], {"users": of_users, "videos": of_videos})
    assert str(said.value) == (
        "config.features: found no column 'profile' (profile) in --users, "
        "no column 'upload_time' (age_days, upload_hour), 'tags' (tags) in --videos; "
        "expected them there, or the features in brackets left out of the config"
    )
    check_present([users], {"users": of_users | {"profile"}})


def test_a_feature_cannot_read_a_column_as_something_else() -> None:
    wrong = Vocabulary(column="duration_sec", entity=Entity.ITEM)
    with pytest.raises(UserError, match=r"features\.length\.column: duration_sec holds a number"):
        tables_of(spec_of(config_of(small_data(), **features(), length=wrong)))


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("country_of_device", Vocabulary(column="country", entity=Entity.CONTEXT)),
        ("age_as_text", Vocabulary(column="age")),
        ("weight", LogZScore(column="weight")),
        ("first", LogZScore(column="first_seen", entity=Entity.ITEM, elapsed=True)),
    ],
)
def test_columns_of_rows_have_one_meaning(name: str, feature: Any) -> None:
    with pytest.raises(UserError, match=rf"config\.features\.{name}: found column"):
        spec_of(config_of(small_data(), **features(), **{name: feature}))


def test_only_what_the_spec_needs_is_read(tables: dict[str, Table]) -> None:
    assert set(tables["videos"].fields) == {
        "video_id",
        "title",
        "duration_sec",
        "upload_time",
        "category",
        "creator_id",
        "content_vector",
        "tags",
    }


def test_files_directories_and_globs(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.jsonl.gz", "_SUCCESS", ".hidden.jsonl"):
        write_lines(tmp_path / name, [GOOD])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a" / "d.parquet")

    def found(where: str) -> list[str]:
        files = list_files("events", where)
        assert [file.index for file in files] == list(range(len(files)))
        return [str(Path(file.path).relative_to(tmp_path)) for file in files]

    assert found(str(tmp_path)) == ["a/c.jsonl.gz", "a/d.parquet", "b.jsonl"]
    assert found(f"{tmp_path}/") == found(str(tmp_path))
    assert found(str(tmp_path / "*.jsonl")) == ["b.jsonl"]
    assert found(str(tmp_path / "b.jsonl")) == ["b.jsonl"]
    with pytest.raises(UserError, match="--events: found no file at .*/none"):
        found(str(tmp_path / "none"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"--events: found .*notes\.txt, expected"):
        found(str(tmp_path))


@pytest.mark.parametrize("cut", [0, 1, 5, 30, -9, -4])
def test_a_cut_gzip_file_is_no_shorter_table(cut: int, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "events.jsonl.gz", [GOOD] * 50)
    whole = path.read_bytes()
    file = list_files("events", str(path))[0]
    assert [len(lines) for _, lines in read_lines(file, 1_000)] == [50]
    path.write_bytes(whole + whole)
    assert [len(lines) for _, lines in read_lines(file, 1_000)] == [100]
    for damaged in (whole[:cut], whole + whole[:cut] if cut not in (0,) else b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"events\.jsonl\.gz is cut or damaged"):
            list(read_lines(file, 1_000))


def test_line_numbers_hold_over_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.lines._CHUNK_ROWS", 4)
    monkeypatch.setattr("preprocessing.lines._BLOCK_BYTES", 7)
    path = write_lines(tmp_path / "lines.jsonl", [str(number) for number in range(1, 12)])
    chunks = list(read_lines(list_files("events", str(path))[0], 1_000))
    assert len(chunks) == 3
    assert [int(line) for _, lines in chunks for line in lines] == list(range(1, 12))
    assert [first for first, _ in chunks] == [1, 5, 9]


def test_a_line_beyond_the_limit_is_cut_and_the_next_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocessing.lines._BLOCK_BYTES", 7)
    path = write_lines(tmp_path / "lines.jsonl", ["a" * 10, "b" * 11, "c" * 90, "d", "e" * 40])
    found = [
        line for _, lines in read_lines(list_files("events", str(path))[0], 10) for line in lines
    ]
    assert found == [b"a" * 10, b"b" * 11, b"c" * 11, b"d", b"e" * 11]


def test_chunks_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.lines._BLOCK_BYTES", 10)
    monkeypatch.setattr("preprocessing.lines._CHUNK_BYTES", 30)
    path = write_lines(tmp_path / "lines.jsonl", [str(n) * 9 for n in range(8)])
    chunks = list(read_lines(list_files("events", str(path))[0], 1_000))
    assert [(first, len(lines)) for first, lines in chunks] == [(1, 3), (4, 3), (7, 2)]
    assert [line for _, lines in chunks for line in lines] == [b"%d" % n * 9 for n in range(8)]
