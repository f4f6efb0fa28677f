"""The fresh tier: videos added and removed without training or a new index."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from preprocessing.contract import tables_of
from serving.bundle import Bundle
from serving.exporter import export
from serving.golden import GOLDEN_FILE
from serving.publishing import REPORT, versions
from serving.quality import embed, raw_items
from serving.removed import read_ids
from serving.requests import empty_request
from serving.saved_model import SavedModel
from serving.updating import update
from tests.commands import run_command
from tests.quiet import QUIET
from tests.test_gate import passing_replay, with_export
from trainer.dataset import Dataset
from trainer.restore import restore_run


@pytest.fixture(scope="module")
def dataset(workdir: Path) -> Dataset:
    return restore_run(workdir)[1]


def videos(dataset: Dataset, count: int) -> list[dict[str, Any]]:
    """Videos like those of the catalog, by other names."""
    raw = raw_items(dataset, dataset.manifest.splits.last_day)
    logged = tables_of(dataset.spec)["videos"].fields
    rows = []
    for i in range(1, count + 1):
        row = {name: plain(column[i]) for name, column in raw.items() if name in logged}
        rows.append(row | {"video_id": f"fresh-{i}", "title": str(dataset.catalog.title[i])})
    return rows


def plain(value: Any) -> Any:
    """A value of the catalog as JSON, lists without their padding."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(each) for each in value.tolist() if each != b""]
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def write_videos(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(model: SavedModel, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return model.signatures[name].answer(inputs)


def of(*ids: str) -> np.ndarray:
    return np.array([i.encode() for i in ids], object)


@pytest.fixture(scope="module")
def base(workdir: Path, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 by export with ScaNN, 2 and 3 by updates of it."""
    root = tmp_path_factory.mktemp("fresh")
    run = with_export(workdir, root / "run", index="ah", rebuild_share=0.05)
    export(run, root / "m", console=QUIET)
    rows = videos(dataset, 25)
    known = rows[0] | {"video_id": dataset.catalog.video_id[1]}
    add = write_videos(root / "a.jsonl", [*rows, rows[3], known])
    first = update(root / "m", add=add, remove=[], console=QUIET)
    assert (first["added"], first["known"], first["repeated"]) == (25, 1, 1)
    assert not first["rebuild_due"]
    more = write_videos(root / "b.jsonl", [rows[0], rows[7] | {"video_id": "fresh-late"}])
    leaving = ["fresh-1", dataset.catalog.video_id[2], "fresh-2", "nobody"]
    second = update(root / "m", add=more, remove=leaving, console=QUIET)
    assert (second["added"], second["removed_before"]) == (1, 1)
    assert (second["removed"], second["unknown"]) == (3, 1)
    # Of 626 items 26 are fresh and 3 removed, one of them fresh: 4.6 %.
    assert second["items"] == {"indexed": 600 + 1, "fresh": 26, "removed": 3}
    return root / "m"


def test_fresh_videos_are_known_to_every_signature(base: Path, dataset: Dataset) -> None:
    model = SavedModel(base / "2")
    similar = ask(model, "similar_items", item_id=of("fresh-5"))
    # Its twin in the catalog differs only in its id's own embedding and its counts.
    assert similar["item_id"].shape == (1, 20) and b"fresh-5" not in similar["item_id"]
    assert (similar["item_id"] != b"").all()
    request = empty_request(dataset.spec, 1)
    stranger = ask(model, "embed_user", **request)["embedding"]
    request |= {
        "history_item_id": of("fresh-5")[None],
        "history_timestamp": np.array([[1]], np.int64),
    }
    assert np.abs(ask(model, "embed_user", **request)["embedding"] - stranger).max() > 1e-3
    model.close()


def test_fresh_videos_come_where_their_vectors_say(base: Path, dataset: Dataset) -> None:
    old, model = SavedModel(base / "1"), SavedModel(base / "2")
    raw = {
        name: column[1:26]
        for name, column in raw_items(dataset, dataset.manifest.splits.last_day).items()
    }
    raw |= {c.name: np.zeros(25, np.int64) for c in dataset.spec.statistic_columns}
    raw["video_id"] = of(*(f"fresh-{i}" for i in range(1, 26)))
    as_of = json.loads((base / "1" / REPORT).read_text())["as_of"]
    raw["timestamp"] = np.maximum(as_of, raw["upload_time"])
    fresh = embed(old, "embed_item", raw)
    rng = np.random.default_rng(0)
    ids = of(*dataset.catalog.video_id[1:])
    request = empty_request(dataset.spec, 40)
    request |= {
        "history_item_id": ids[rng.integers(0, 600, (40, 30))],
        "history_timestamp": np.tile(np.arange(30), (40, 1)),
    }
    users = ask(model, "embed_user", **request)["embedding"]
    scores = users @ fresh.T / 0.05
    # Who has no event yet stands behind the popular ones, which come first in the catalog.
    request["exclude_item_id"] = np.tile(ids[:570], (40, 1))
    before, after = (ask(each, "recommend_excluding", **request) for each in (old, model))
    found = 0
    for row in range(40):
        listed = {i: s for i, s in zip(after["item_id"][row], after["score"][row], strict=True)}
        worst = after["score"][row, -1]
        for i in range(25):
            name = f"fresh-{i + 1}".encode()
            if abs(scores[row, i] - worst) < 1e-3:
                continue  # on the edge of the list
            assert (name in listed) == (scores[row, i] > worst)
            if name in listed:
                found += 1
                assert listed[name] == pytest.approx(scores[row, i], abs=2e-3)
        # All others of the list were in it before.
        others = [i for i in after["item_id"][row] if not i.startswith(b"fresh-")]
        assert set(others) <= set(before["item_id"][row])
    assert found > 10
    old.close()
    model.close()


def test_removed_videos_never_come_back(
    base: Path,
    dataset: Dataset,
    workdir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = {b"fresh-1", b"fresh-2", dataset.catalog.video_id[2].encode()}

    def lists_of(version: Path) -> set[bytes]:
        model = SavedModel(version)
        rng = np.random.default_rng(1)
        request = empty_request(dataset.spec, 200)
        ids = of(*dataset.catalog.video_id[1:])
        request |= {
            "history_item_id": ids[rng.integers(0, 600, (200, 5))],
            "history_timestamp": np.tile(np.arange(5), (200, 1)),
        }
        lists = set(ask(model, "serving_default", **request)["item_id"].ravel())
        model.close()
        return lists

    assert lists_of(base / "2") & gone
    assert lists_of(base / "3").isdisjoint(gone) and b"" not in lists_of(base / "3")
    model = SavedModel(base / "3")
    with pytest.raises(tf.errors.InvalidArgumentError, match="catalog does not hold"):
        ask(model, "similar_items", item_id=of("fresh-1"))
    model.close()
    # Nor with the next export.
    monkeypatch.setattr("serving.verdict.run_replay", passing_replay)
    again = tmp_path / "m"
    shutil.copytree(base / "3", again / "3")
    result = export(workdir, again, console=QUIET)
    assert result["items"]["removed"] == 4 and lists_of(again / "4").isdisjoint(gone)


def test_rebuild_is_due_from_a_share_on(
    base: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.verdict.run_replay", passing_replay)
    copy = tmp_path / "m"
    shutil.copytree(base / "3", copy / "3")
    rows = [r | {"video_id": f"later-{i}"} for i, r in enumerate(videos(dataset, 10))]
    add = write_videos(tmp_path / "c.jsonl", rows)
    result = update(copy, add=add, remove=[], console=QUIET)
    assert result["rebuild_due"] and versions(copy) == [3, 4]
    assert json.loads((copy / "4" / REPORT).read_text())["updated_from"] == 3


def copy_of(version: Path, model: Path) -> Path:
    shutil.copytree(version, model / version.name)
    return model


def test_a_line_that_breaks_the_contract_publishes_nothing(
    base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    model = copy_of(base / "1", tmp_path / "m")
    rows = videos(dataset, 2)
    add = write_videos(tmp_path / "a.jsonl", [rows[0], rows[1] | {"duration_sec": 1e39}])
    with pytest.raises(UserError, match=f"--add={add}, line 2: duration_sec: .*found 1e.39"):
        update(model, add=add, remove=[], console=QUIET)
    with pytest.raises(UserError, match="found no video, expected one a line"):
        update(model, add=write_videos(tmp_path / "b.jsonl", []), remove=[], console=QUIET)
    assert [path.name for path in model.iterdir()] == ["1"]


def test_a_vector_that_is_not_finite_publishes_nothing(
    base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Whatever the reason, here weights that are NaN."""
    model = copy_of(base / "1", tmp_path / "m")
    bundle = Bundle(model / "1")
    spoiled = {
        key: np.full_like(value, np.nan)
        for key, value in bundle.values.items()
        if key.startswith("weights/")
    }
    shutil.rmtree(model / "1" / "variables")
    bundle.write(model / "1", spoiled)
    add = write_videos(tmp_path / "a.jsonl", videos(dataset, 2))
    with pytest.raises(UserError, match=f"--add={add}, line 1: its embedding is not finite"):
        update(model, add=add, remove=[], console=QUIET)
    assert [path.name for path in model.iterdir()] == ["1"]


def test_ids_to_remove_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffa\r\n\nb c\u2028d\n".encode())
    assert read_ids(path) == ["a", "b c\u2028d"]
    for content in (b"", b" \n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"--remove={path}: found no id"):
            read_ids(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=f"--remove={path}: cannot be read: 'utf-8'"):
        read_ids(path)


@pytest.mark.parametrize("flag", ["add", "remove"])
def test_an_empty_flag_is_refused(flag: str, tmp_path: Path) -> None:
    done = run_command("serving.update", f"--model={tmp_path}", f"--{flag}=")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: --{flag}: found an empty value, expected a file\n",
    )


def test_update_refuses_what_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--model=.*found no version"):
        update(tmp_path, add=None, remove=["x"], console=QUIET)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("command", ["export", "update"])
def test_killed_at_any_moment_nothing_is_visible(
    command: str, base: Path, workdir: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m"
    shutil.copytree(base / "1", model / "1")
    before = sorted(p.name for p in (model / "1").rglob("*"))
    flags = {
        "export": [f"--workdir={workdir}", f"--output={model}"],
        "update": [f"--model={model}", f"--remove={write_videos(tmp_path / 'r', [{}])}"],
    }[command]
    # From nothing written yet to all but the gate's last word, which takes a process of its own.
    for written in ("", "variables", str(GOLDEN_FILE), str(REPORT)):
        with subprocess.Popen(
            [sys.executable, "-m", f"serving.{command}", *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ,
        ) as process:
            while not any((p / written).exists() for p in model.glob(f".building-{process.pid}")):
                assert process.poll() is None, "ended before it could be killed"
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert versions(model) == [1]
        assert sorted(p.name for p in (model / "1").rglob("*")) == before
    subprocess.run([sys.executable, "-m", f"serving.{command}", *flags, "--json"], check=True)
    assert versions(model) == [1, 2]
    assert not list(model.glob(".building-*"))


def test_a_version_of_an_earlier_release_is_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(base / "1", model / "1")
    report = json.loads((model / "1" / REPORT).read_text())
    del report["as_of"], report["index"]
    (model / "1" / REPORT).write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"m/1: found no as_of, index in its .*export\.json, which"):
        update(model, add=None, remove=["x"], console=QUIET)
    (model / "1" / "assets.extra" / "dataset_config.json").unlink()
    shutil.copyfile(base / "1" / REPORT, model / "1" / REPORT)
    add = write_videos(tmp_path / "a.jsonl", [{"video_id": "x"}])
    with pytest.raises(UserError, match=r"m/1: found no .*dataset_config\.json, which an earlier"):
        update(model, add=add, remove=[], console=QUIET)
    (model / "1" / REPORT).write_text("{")
    with pytest.raises(UserError, match=r"export\.json: found no JSON"):
        update(model, add=None, remove=["x"], console=QUIET)
    assert [path.name for path in model.iterdir()] == ["1"]


def test_only_the_newest_version_is_updated(base: Path) -> None:
    """What later versions added would be gone from the next, and what they removed back."""
    newest = max(int(path.name) for path in base.iterdir() if path.name.isdigit())
    with pytest.raises(UserError, match=f"found version 1, expected the newest, {newest}"):
        update(base / "1", add=None, remove=["x"], console=QUIET)
    assert max(int(path.name) for path in base.iterdir() if path.name.isdigit()) == newest
