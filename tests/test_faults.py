"""Faults put into real runs of the Beam job: nothing is lost, nothing half-written is believed."""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from configs.errors import UserError
from configs.schema import Config, DamagedFiles
from preprocessing import manifest as manifests
from preprocessing.job import preprocess
from preprocessing.sethash import SetHash, differing, set_hashes
from preprocessing.sources import list_files, read_lines
from tests.commands import ROOT
from tests.damage import file_system, flip_a_bit
from tests.decoded import Decoded, run
from tests.killed_preprocessing import STAGES
from tests.quiet import QUIET
from tests.raw_logs import DAY_S, START, Row, config_of, raw_log, small_data, write_lines

LOG = raw_log(3, events=300)
EVENTS = LOG.events
GOOD: Row = {"event": "watch", "user_id": "u1", "video_id": "v1", "timestamp": START + 77}


@pytest.fixture(scope="module")
def config() -> Config:
    return config_of(small_data())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return LOG.write(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def whole(config: Config, raw: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    """A run that nothing went wrong in."""
    return run(config, raw, tmp_path_factory.mktemp("whole") / "dataset")


@pytest.fixture(scope="module")
def hashes(whole: Decoded) -> dict[str, SetHash]:
    return set_hashes(whole.root)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_clean(output: Path) -> None:
    """Whether the dataset is whole and nothing else lies beside it."""
    manifest = manifests.read(output)
    manifests.verify_hashes(output, manifest)
    assert files_in(output) == {manifests.MANIFEST, *(file.name for file in manifest.files)}


def killed(config: Config, tables: dict[str, str], outputs: dict[str, Path]) -> dict[str, Any]:
    """What is left in each output by a run that was killed at that stage."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_preprocessing"],
        input=pickle.dumps((config, tables, {s: str(o) for s, o in outputs.items()})),
        capture_output=True,
        cwd=ROOT,
        env=os.environ,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr.decode()
    ended = json.loads(done.stdout.splitlines()[-1])
    assert {stage: code for stage, (code, _) in ended.items()} == dict.fromkeys(
        outputs, -signal.SIGKILL
    )
    return {stage: names for stage, (_, names) in ended.items()}


def test_killed_at_any_stage_and_run_again(
    config: Config,
    raw: dict[str, str],
    hashes: dict[str, SetHash],
    whole: Decoded,
    tmp_path: Path,
) -> None:
    fresh, earlier = tmp_path / "fresh", tmp_path / "earlier"
    shutil.copytree(whole.root, earlier)
    others = {"some files": earlier, "sweeping": earlier}
    before = manifests.read(earlier)

    into_fresh = killed(config, raw, {s: fresh for s in STAGES if s != "sweeping"})
    into_earlier = killed(config, raw, others)

    for names in into_fresh.values():
        assert manifests.MANIFEST not in names and len(names) > 0
    assert len(into_fresh["manifest"]) == len(STAGES)  # a folder for each, and the unnamed manifest
    assert any(name.startswith(f".{manifests.MANIFEST}") for name in into_fresh["manifest"])
    with pytest.raises(UserError, match=r"found no manifest\.json"):
        manifests.read(fresh)
    # Killed once the new manifest stands, the new dataset stands, with the old one's files beside.
    after_sweeping = manifests.read(earlier)
    assert after_sweeping.files != before.files
    assert len([n for n in into_earlier["sweeping"] if n.startswith("data-")]) == 3
    assert differing(set_hashes(earlier), hashes) == []

    for output, again in ((fresh, config), (earlier, config_of(small_data(shards=5)))):
        preprocess(again, tables=raw, output=output, display=QUIET)
        assert differing(set_hashes(output), hashes) == []
        assert_clean(output)
    assert len(manifests.read(earlier).part("train")) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with file_system(tmp_path, "4m") as disk:
        yield disk


def test_a_full_disk(
    config: Config,
    raw: dict[str, str],
    hashes: dict[str, SetHash],
    whole: Decoded,
    small_disk: Path,
) -> None:
    output = small_disk / "dataset"
    shutil.copytree(whole.root, output)
    before = {p: (output / p).stat().st_mtime_ns for p in files_in(output)}
    needed = sum(-(-f.size // 4096) for f in whole.manifest.files)
    for pages in (0, needed // 2, needed):  # nothing fits, some files do, all but the manifest
        filler = small_disk / "filler"
        free = os.statvfs(small_disk).f_bavail
        filler.write_bytes(b"x" * ((free - pages) * 4096))
        assert os.statvfs(small_disk).f_bavail == pages
        with pytest.raises(UserError, match=r"^--output: .*dataset: no space left on device; "):
            preprocess(config, tables=raw, output=output, display=QUIET)
        assert {p: (output / p).stat().st_mtime_ns for p in files_in(output)} == before
        assert_clean(output)
        filler.unlink()
    assert differing(set_hashes(output), hashes) == []


def test_a_gzip_file_cut_anywhere_or_with_any_byte_flipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "events.jsonl.gz", [GOOD, GOOD | {"user_id": "u2"}])
    first = path.read_bytes()
    path = write_lines(path, [GOOD | {"user_id": f"u{n}"} for n in range(3)])
    data = first + path.read_bytes()
    file = list_files("events", str(path))[0]

    def lines() -> list[bytes]:
        return [line for _, chunk in read_lines(file, 1 << 20) for line in chunk]

    path.write_bytes(data)
    expected = lines()
    assert len(expected) == 5
    detected = 0
    for cut in range(len(data)):
        if cut == len(first):
            continue  # is whole: a file of one member less, which nothing in it can tell
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match="is cut or damaged"):
            lines()
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            try:
                assert lines() == expected  # bytes of a header that say nothing of the content
            except UserError:
                detected += 1
    assert detected > 2.5 * len(data)


def test_damaged_files_fail_the_job_or_are_set_aside(
    raw: dict[str, str], hashes: dict[str, SetHash], tmp_path: Path
) -> None:
    events = tmp_path / "events"
    shutil.copytree(raw["events"], events)
    more = [e | {"user_id": "someone else"} for e in EVENTS]
    cut = write_lines(events / "cut.jsonl.gz", more)
    cut.write_bytes(cut.read_bytes()[:-1])
    flipped = write_lines(events / "flipped.jsonl.gz", more)
    flip_a_bit(flipped)
    parquet = events / "short.parquet"
    pl.DataFrame(more, infer_schema_length=None).write_parquet(parquet)
    parquet.write_bytes(parquet.read_bytes()[:-9])
    tables = raw | {"events": str(events)}

    for name in ("short.parquet", "flipped.jsonl.gz", "cut.jsonl.gz"):
        with pytest.raises(UserError, match="--events: .*(cut or damaged|cannot be read)") as said:
            preprocess(
                config_of(small_data()), tables=tables, output=tmp_path / "no", display=QUIET
            )
        assert not (tmp_path / "no").exists()
        bad = next(path for path in (parquet, flipped, cut) if path.name in str(said.value))
        bad.rename(bad.with_name(f"_{name}"))
    for path in events.glob("_*"):
        path.rename(path.with_name(path.name[1:]))

    tolerant = config_of(small_data(damaged_files=DamagedFiles.QUARANTINE))
    found = run(tolerant, tables, tmp_path / "out")

    assert differing(set_hashes(found.root), hashes) == []
    counters = found.manifest.counters
    assert set(counters["quarantined"]) == {str(cut), str(flipped), str(parquet)}
    assert str(cut) in counters["quarantined"][str(cut)]
    for path in (cut, flipped, parquet):
        of_file = counters["files"][str(path)]
        assert of_file["read"] == of_file["valid"] == sum(of_file["dead_letter"].values()) == 0
    assert counters["total"]["read"] == len(EVENTS)


def line(**changed: Any) -> str:
    return json.dumps(GOOD | changed)


LIMIT = 4096
BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"event": "like", "user_id": "u1"', "not JSON"),
    (b"\x00\x01\x02", "not JSON"),
    (b"[" * 3_000 + b"]" * 3_000, f"longer than {LIMIT} bytes"),
    (b"[" * 1_500 + b"]" * 1_500, "not JSON"),
    (b'{"a":' * 500 + b"1" + b"}" * 500, "event: missing"),
    (line(user_id=[[[{"a": [None]}]]]).encode(), "user_id: not a string"),
    (line().encode().replace(b"u1", b"\xc3\x28"), "not UTF-8"),
    (line(title="x" * 50_000_000).encode(), f"longer than {LIMIT} bytes"),
    (b'"a string"', "not a JSON object"),
    (line(watch_sec=0).encode().replace(b"0}", b"NaN}"), "not JSON"),
    (line(watch_sec=0).encode().replace(b"0}", b"Infinity}"), "not JSON"),
    (line(watch_sec=0).encode().replace(b"0}", b"-1e999}"), "not JSON"),
    (line(watch_sec=-0.5).encode(), "watch_sec: below 0"),
    (line(watch_sec=1e7).encode(), "watch_sec: above 86400"),
    (line(watch_sec=3, video_duration=0).encode(), "video_duration: not above 0"),
    (line(timestamp=START * 1_000).encode(), f"timestamp: above {START + 10 * DAY_S} UTC seconds"),
    (line(timestamp=0).encode(), "timestamp: below 631152000 UTC seconds"),
    (
        line(timestamp=START + 11 * DAY_S).encode(),
        f"timestamp: above {START + 10 * DAY_S} UTC seconds",
    ),
]


def test_bad_lines_go_to_the_dead_letter_and_are_counted_by_file(
    raw: dict[str, str], hashes: dict[str, SetHash], tmp_path: Path
) -> None:
    """Every fault in two files among good lines, beside a file of Parquet with its own."""
    events = tmp_path / "events"
    shutil.copytree(raw["events"], events)
    good = [json.dumps(e).encode() for e in EVENTS[:4]]
    bad = list(BAD_LINES)
    expected: dict[str, list[tuple[int, str, bytes]]] = {}
    for name in ("bad1.jsonl", "bad2.jsonl"):
        random.Random(name).shuffle(bad)
        lines = [good[0], *(b for b, _ in bad), *good[1:]]
        (events / name).write_bytes(b"\n".join(lines))
        expected[str(events / name)] = [(n, r, b) for n, (b, r) in enumerate(bad, 2)]
    numbers = [float("nan"), float("inf"), 1e300, -1.0, 3.0]
    parquet = pl.DataFrame([GOOD | {"watch_sec": number} for number in numbers])
    parquet.write_parquet(events / "numbers.parquet")
    rules = {"max_bad_fraction": 0.5, "max_line_bytes": LIMIT, "max_timestamp": START + 10 * DAY_S}

    found = run(config_of(small_data(**rules)), raw | {"events": str(events)}, tmp_path / "out")

    letters = [
        json.loads(text)
        for file in found.manifest.part("dead_letter")
        for text in (found.root / file.name).read_text().splitlines()
    ]
    for path, lines in expected.items():
        of_file = [letter for letter in letters if letter["file"] == path]
        assert [(each["line"], each["reason"]) for each in of_file] == [(n, r) for n, r, _ in lines]
        for each, (_, _, body) in zip(of_file, lines, strict=True):
            assert each["raw"] == body[:1024].decode(errors="backslashreplace")
    of_parquet = [each for each in letters if each["file"] == str(events / "numbers.parquet")]
    assert [(each["line"], each["reason"]) for each in of_parquet] == [
        (1, "watch_sec: not finite"),
        (2, "watch_sec: not finite"),
        (3, "watch_sec: not finite"),
        (4, "watch_sec: below 0"),
    ]
    counters = found.manifest.counters
    for path, part in [*counters["files"].items(), ("", counters["total"])]:
        dead = Counter(each["reason"] for each in letters if path in ("", each["file"]))
        assert part["dead_letter"] == dead
        assert part["read"] == sum(dead.values()) + part["duplicate"] + part["valid"]
        assert part["valid"] == part["positive"] + part["not_positive"]
        assert part["positive"] == sum(part["rows"].values()) + sum(part["filtered"].values())
    for path in expected:
        assert counters["files"][path]["read"] == len(BAD_LINES) + len(good)
        assert counters["files"][path]["duplicate"] == len(good)
    # One good watch came with the Parquet file, of three seconds of one of 8 or 20.
    assert counters["files"][str(events / "numbers.parquet")]["valid"] == 1
    assert found.manifest.rows("dead_letter") == len(letters) == 2 * len(BAD_LINES) + 4
    assert found.manifest.rows("catalog") == hashes["catalog"].rows


def test_a_user_of_very_many_events_is_cut_up_alike(
    config: Config,
    raw: dict[str, str],
    whole: Decoded,
    hashes: dict[str, SetHash],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preprocessing.point_in_time._CELLS", 7)
    monkeypatch.setattr("preprocessing.rows.MAX_LISTED", 30)
    found = run(config, raw, tmp_path / "out")
    changed = differing(set_hashes(found.root), hashes)
    assert changed and set(changed) <= {"queries/test/next", "queries/validation/next"}
    events = Counter(e["user_id"] for e in EVENTS)
    for split in ("validation", "test"):
        part = f"queries/{split}/next"
        kept, everything = found.rows(part), whole.rows(part)
        assert all(query in everything for query in kept)
        for user, count in Counter(q["user_id"] for q in everything).items():
            of_user = sum(q["user_id"] == user for q in kept)
            assert 1 <= of_user <= count
            assert of_user <= 30 // (events[user] // 2)  # duplicates are not among a user's events
