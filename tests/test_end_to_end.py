"""The whole way as a user goes it: every command in a process of its own, on a small log."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, result_of

CONFIG = "--config=configs/smoke.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the commands made, by step."""
    root = tmp_path_factory.mktemp("whole-way")
    logs, dataset, work = root / "logs", root / "dataset", root / "train"
    simulated, _ = result_of("preprocessing.simulate", CONFIG, f"--output={logs}")
    prepared, _ = result_of(
        "preprocessing.run",
        CONFIG,
        f"--events={logs / 'events'}",
        f"--videos={logs / 'videos.parquet'}",
        f"--users={logs / 'users.parquet'}",
        f"--output={dataset}",
    )
    trained, tables = result_of(
        "trainer.task",
        CONFIG,
        f"--dataset={dataset}",
        f"--workdir={work}",
        f"--compare_lists={logs / 'truth.parquet'}",
    )
    exported, said = result_of(
        "serving.export", f"--workdir={work}", f"--output={root / 'models' / 'retrieval'}"
    )
    return {
        "root": root,
        "dataset": dataset,
        "simulate": simulated,
        "preprocess": prepared,
        "train": trained,
        "tables": tables,
        "export": exported,
        "export said": said,
    }


def test_every_event_is_accounted_for(made: dict[str, Any]) -> None:
    manifest = json.loads((made["dataset"] / "manifest.json").read_text())
    total = manifest["counters"]["total"]
    assert total["read"] == made["simulate"]["events"]
    dead = sum(total["dead_letter"].values())
    assert total["read"] == dead + total["duplicate"] + total["valid"]
    assert total["valid"] == total["positive"] + total["not_positive"]
    rows = sum(total["rows"].values())
    assert total["positive"] == rows + sum(total["filtered"].values())
    train = sum(f["rows"] for f in manifest["files"] if f["part"] == "train")
    assert train == total["rows"]["train"] > 1_000


def test_the_oracle_is_best_and_the_model_is_measured_beside_baselines(
    made: dict[str, Any],
) -> None:
    window = made["train"]["metrics"]["window"]
    names = {"streamrec", "popularity", "recent popularity", "last items", "EASE", "truth"}
    assert names <= set(window)
    assert window["truth"]["Recall@100"] == max(m["Recall@100"] for m in window.values())
    assert "Recall@100" in made["tables"] and "window" in made["tables"]


def test_export_says_what_it_chose_and_measured(made: dict[str, Any]) -> None:
    assert "index: exact over 600 items" in made["export said"]
    gate = made["export"]["gate"]
    assert gate["checks"]["recall"]["found"] > 0.999 and gate["problems"] == []


def query_and_stop(server: subprocess.Popen[str], dataset: Path) -> tuple[dict[str, Any], str]:
    """Waits until the server answers, asks it once, ends it; returns what was answered."""
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.search(r"^serving retrieval version 1 on \S+:(\d+)", line):
                break
        else:
            pytest.fail("the server ended before it was ready")
        return result_of(
            "serving.query", f"--server=localhost:{found[1]}", f"--dataset={dataset}", "--k=5"
        )
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0


def test_server_answers_a_query_and_ends_well(made: dict[str, Any]) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "serving.server",
            f"--model_base_path={made['root'] / 'models' / 'retrieval'}",
            "--model_name=retrieval",
            "--port=0",
            "--rest_api_port=0",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as server:
        answer, table = query_and_stop(server, made["dataset"])
    assert len(set(answer["item_id"])) == 5 and answer["version"] == 1
    assert answer["score"] == sorted(answer["score"], reverse=True)
    assert answer["user_id"] in table and "recommended" in table
