"""A user's mistake is one line that names the thing, and leaves nothing behind."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from configs import kinds, movielens
from configs.errors import UserError
from configs.kinds import Entity, Vocabulary
from configs.schema import Config, PositiveRule, Split, SplitBy
from preprocessing import tally
from preprocessing.contract import tables_of
from preprocessing.features import spec_of
from preprocessing.job import preprocess
from preprocessing.parsing import parse_lines
from preprocessing.sources import SourceFile
from tests.commands import run_command
from tests.quiet import QUIET
from tests.raw_logs import START, config_of, features, raw_log, small_data, write_lines

LOG = raw_log(0, events=60)
EVENTS = LOG.events


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    return LOG.write(tmp_path / "raw")


@pytest.fixture
def config() -> Config:
    return config_of(small_data())


def refusal(
    config: Config, tables: dict[str, str], output: Path, *, beam: tuple[str, ...] = ()
) -> str:
    """The one line that a job ends with; nothing must be left of it."""
    with pytest.raises(UserError) as caught:
        preprocess(config, tables=tables, output=output, beam_options=beam, display=QUIET)
    message = str(caught.value)
    assert "\n" not in message and "[while running" not in message
    assert not output.exists()
    return message


def test_a_missing_file(config: Config, tables: dict[str, str], tmp_path: Path) -> None:
    for table in tables:
        where = str(tmp_path / "nowhere.jsonl")
        found = refusal(config, tables | {table: where}, tmp_path / "out")
        assert found.startswith(f"--{table}: found no file at {where}, expected")


def test_a_parquet_file_that_is_none(
    config: Config, tables: dict[str, str], tmp_path: Path
) -> None:
    whole = tmp_path / "events.parquet"
    pl.DataFrame(EVENTS, infer_schema_length=None).write_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:-20])
    found = refusal(config, tables | {"events": str(whole)}, tmp_path / "out")
    assert found.startswith(f"--events: {whole} cannot be read: ")


def test_a_parquet_column_that_is_missing_or_of_another_type(
    config: Config, tables: dict[str, str], tmp_path: Path
) -> None:
    frame = pl.DataFrame(EVENTS, infer_schema_length=None)
    path = tmp_path / "events.parquet"
    where = tables | {"events": str(path)}
    frame.drop("video_id").write_parquet(path)
    found = refusal(config, where, tmp_path / "out")
    assert found == (f"--events: {path}: found no column 'video_id', expected it to hold a string")
    frame.with_columns(pl.col("timestamp").cast(pl.String)).write_parquet(path)
    found = refusal(config, where, tmp_path / "out")
    assert found == (
        f"--events: {path}: column 'timestamp': found large_string, "
        "expected an integer, UTC seconds"
    )
    frame.drop("device").write_parquet(path)
    found = refusal(config, where, tmp_path / "out")
    assert found.startswith("config.features: found no column 'device' (device) in --events; ")


def test_features_whose_columns_no_line_has(tables: dict[str, str], tmp_path: Path) -> None:
    studio = Vocabulary(column="studio", entity=Entity.ITEM)
    band, job = Vocabulary(column="age_band"), Vocabulary(column="occupation")
    config = config_of(small_data(), **features(), studio=studio, band=band, job=job)
    found = refusal(config, tables, tmp_path / "out")
    assert found == (
        "config.features: found no column 'studio' (studio) in --videos, "
        "no column 'age_band' (band), 'occupation' (job) in --users; "
        "expected them there, or the features in brackets left out of the config"
    )


def test_features_of_users_without_a_table_of_users(
    config: Config, tables: dict[str, str], tmp_path: Path
) -> None:
    del tables["users"]
    found = refusal(config, tables, tmp_path / "out")
    assert found.startswith("config.features: found no --users with 'country' (country), 'gender' ")
    assert all(f"({name})" in found for name in ("age", "account_age_days", "profile", "interests"))


def test_an_unknown_event_name_and_other_bad_lines(
    config: Config, tables: dict[str, str], tmp_path: Path
) -> None:
    lines: list[Any] = [EVENTS[0] | {"event": "purchase"}] * 3 + ["{"] * 2
    lines += [EVENTS[0] | {"watch_sec": -1}] * 4 + [EVENTS[0] | {"timestamp": 1}]
    path = write_lines(tmp_path / "raw" / "events" / "bad.jsonl", lines)
    found = refusal(config, tables, tmp_path / "out")
    total = len(EVENTS) + len(lines)
    assert found.startswith(
        f"--events: 10 of {total} rows are malformed, expected at most 1.00% "
        "(data.max_bad_fraction): watch_sec: below 0 (4x, as "
    )
    assert f"event: none of {', '.join(kinds.EVENTS)} (3x, as {path} line 1: " in found
    assert f"not JSON (2x, as {path} line 4: {{)" in found
    assert "timestamp: below" not in found  # the fourth most common


def test_no_share_of_bad_lines_lets_an_empty_table_pass() -> None:
    """What the job says of a table is worked out here; that it ends so, in the tests around."""
    file = SourceFile(table="videos", path="some.jsonl", index=0)
    table = tables_of(spec_of(config_of(small_data())))["videos"]

    def check(*lines: bytes) -> None:
        parsed = parse_lines(list(lines), 1, table)
        found = tally.add([tally.of_file(file), tally.of_chunk(file, parsed)])
        tally.check_readable("videos", found, 1.0)

    check(b"{}", b'{"video_id": "v"}')
    with pytest.raises(
        UserError, match=r"^--videos: 2 of 2 rows are malformed, .*some\.jsonl line 1"
    ):
        check(b"{}", b"{}")
    with pytest.raises(UserError, match="^--videos: found no rows, expected at least one$"):
        check(b"", b"")


def test_a_cut_gzip_file(config: Config, tables: dict[str, str], tmp_path: Path) -> None:
    path = write_lines(tmp_path / "events.jsonl.gz", EVENTS)
    path.write_bytes(path.read_bytes()[:-30])
    found = refusal(config, tables | {"events": str(path)}, tmp_path / "out")
    assert found.startswith(f"--events: {path} is cut or damaged: ")


def test_no_positive_event(tables: dict[str, str], tmp_path: Path) -> None:
    config = config_of(
        small_data(positive=PositiveRule(min_watch_fraction=1.0, events=("follow",)))
    )
    found = refusal(config, tables, tmp_path / "out")
    assert found == (
        "--events: found no positive event, expected some that meet config.data.positive"
    )


def test_no_label_before_the_cut(tables: dict[str, str], tmp_path: Path) -> None:
    split = Split(by=SplitBy.DATE, validation_date="2020-01-01", test_date="2020-01-02")
    found = refusal(config_of(small_data(split=split)), tables, tmp_path / "out")
    assert found.startswith("config.data.split: found no label before 1577836800, where train ends")
    config = config_of(small_data(split=split))
    config.data.split.test_date = "2020-13-01"
    found = refusal(config, tables, tmp_path / "out")
    assert found == (
        "config.data.split.test_date: found '2020-13-01', expected a day as YYYY-MM-DD"
    )


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (
            Split(by=SplitBy.DATE, validation_date="2090-01-01", test_date="2090-01-02"),
            "config.data.split.test_date: found 2090-01-02, expected a label from there on, that "
            "is from 2090-01-02 00:00:00 UTC: the test split is empty, ",
        ),
        (Split(), "config.data.split.test_fraction: found 0.9, expected a label from there on, "),
        (
            Split(by=SplitBy.LOO),
            "config.data.split.by: found loo, expected a user with three labels or more: ",
        ),
    ],
)
def test_an_empty_test_split_is_warned_of(split: Split, expected: str, tmp_path: Path) -> None:
    """By date beyond the end of the log; by fraction where all is of one second; by too few."""
    rows = [
        {"event": "like", "user_id": f"u{n}", "video_id": f"v{v}", "timestamp": START}
        for n in range(15)
        for v in range(2)
    ]
    tables = LOG._replace(events=rows).write(tmp_path / "raw")
    shown = Console(file=io.StringIO(), width=1_000)
    kept = {name: each for name, each in features().items() if name in ("item_id", "history")}
    found = preprocess(
        config_of(small_data(split=split), **kept),
        tables=tables,
        output=tmp_path / "out",
        display=shown,
    )
    assert found["rows"] == {"train": 30, "validation": 0, "test": 0}
    (warning,) = found["warnings"]
    assert warning.startswith(expected)
    assert f"warning: {warning}" in shown.file.getvalue()


@pytest.mark.parametrize(
    ("by", "counts", "warned"),
    [
        (SplitBy.LOO, ("positives", "completion"), True),
        (SplitBy.LOO, (), False),
        (SplitBy.FRACTION, ("positives", "completion"), False),
    ],
)
def test_leave_one_out_with_counts_of_items_is_warned_of(
    by: SplitBy, counts: tuple[str, ...], warned: bool, tmp_path: Path
) -> None:
    """By the end of the log, as of which items are embedded, they count what is asked for."""
    kept = {name: features()[name] for name in ("item_id", "history", "age_days", *counts)}
    found = preprocess(
        config_of(small_data(split=Split(by=by)), **kept),
        tables=raw_log(0).write(tmp_path / "raw"),
        output=tmp_path / "out",
        display=Console(quiet=True),
    )
    assert found["rows"]["test"]
    if warned:
        (warning,) = found["warnings"]
        assert warning.startswith(
            "config.features: found counts of items (positives, completion_numerator, "
            "completion_denominator) with data.split.by=loo, expected none: "
        )
    else:
        assert not found["warnings"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--direct_num_wrkers=2",), "found 'direct_num_wrkers', expected Beam's own flags"),
        (("--direct_num_workers=two",), "invalid int value: 'two'"),
        (("events.jsonl",), "found 'events.jsonl', expected Beam's own flags"),
    ],
)
def test_an_unknown_beam_option(
    options: tuple[str, ...],
    message: str,
    config: Config,
    tables: dict[str, str],
    tmp_path: Path,
) -> None:
    found = refusal(config, tables, tmp_path / "out", beam=options)
    assert found.startswith("Beam options after --: ") and message in found


def test_an_output_that_cannot_be_made(
    config: Config, tables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--output: .*file/out cannot be made"):
        preprocess(config, tables=tables, output=tmp_path / "file" / "out", display=QUIET)


def test_an_unknown_variant_of_movielens() -> None:
    assert movielens.get_config().validate().data.split.by is SplitBy.LOO
    assert "positives_30d" in movielens.get_config("time90").validate().features
    expected = "--config: found variant 'time80', expected loo, loo_causal or time90"
    with pytest.raises(UserError, match=expected):
        movielens.get_config("time80")


MOVIELENS = "--config=configs/movielens.py:time90"


def test_the_command_ends_in_one_line_and_no_dataset(tmp_path: Path) -> None:
    """Several processes: what goes wrong in a worker must not be said by each of them."""
    events = write_lines(tmp_path / "events.jsonl", [{"event": "like"}] * 3)
    videos = write_lines(tmp_path / "videos.jsonl", [{"video_id": "v"}])
    done = run_command(
        "preprocessing.run",
        MOVIELENS,
        f"--events={events}",
        f"--videos={videos}",
        f"--users={write_lines(tmp_path / 'users.jsonl', [{'user_id': 'u'}])}",
        f"--output={tmp_path / 'out'}",
        "--",
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: --events: 3 of 3 rows are malformed, expected at most 1.00% "
        f"(data.max_bad_fraction): user_id: missing (3x, as {events} line 1: "
        '{"event": "like"})\n'
    )
    assert not (tmp_path / "out").exists()


def test_the_command_ends_in_one_json_line(tmp_path: Path) -> None:
    rows = [
        {"event": "like", "user_id": f"u{u}", "video_id": f"v{v}", "timestamp": START + v}
        for u in range(3)
        for v in range(10)
    ]
    videos = [{"video_id": f"v{v}", "category": "a", "release_year": 1999} for v in range(10)]
    users = [{"user_id": f"u{u}", "gender": "f", "age": 25, "occupation": "3"} for u in range(3)]
    done = run_command(
        "preprocessing.run",
        MOVIELENS,
        f"--events={write_lines(tmp_path / 'events.jsonl', rows)}",
        f"--videos={write_lines(tmp_path / 'videos.jsonl', videos)}",
        f"--users={write_lines(tmp_path / 'users.jsonl', users)}",
        f"--output={tmp_path / 'out'}",
        "--config.data.shards=1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    *shown, last = done.stdout.splitlines()
    result = json.loads(last)
    assert result["rows"] == {"train": 24, "validation": 3, "test": 3} and not result["warnings"]
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert any("labelling" in line for line in shown) and any("positive" in line for line in shown)
