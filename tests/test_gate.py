"""What must hold before a version is visible: custom operations, twin, refusals, kills."""

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tensorflow.core.framework import graph_pb2
from tensorflow.python.tools import saved_model_utils

from configs.errors import UserError
from serving.exporter import Options, export
from serving.golden import GOLDEN_FILE, read_golden, write_golden
from serving.publishing import REFUSAL_REPORT, REPORT, twin_of, versions
from serving.quality import Quality
from serving.replay import broken_clauses, differences
from serving.requests import build_request, load_states
from serving.saved_model import SavedModel
from serving.verdict import Verdict, run_replay
from tests.quiet import QUIET
from trainer.restore import restore_run

OPS = Path(__file__).parent / "data" / "tf-2.11-ops.json.gz"


def with_export(workdir: Path, target: Path, **export_config: Any) -> Path:
    """A copy of a run that exports in another way."""
    shutil.copytree(workdir, target)
    path = target / "run.json"
    run = json.loads(path.read_text())
    run["config"]["export"] |= export_config
    path.write_text(json.dumps(run))
    return target


def passing_replay(place: Path, *, with_scann: bool) -> dict[str, Any]:
    """What a replay without findings says; the process itself takes seconds."""
    assert (place / "saved_model.pb").exists() and with_scann
    return {"records": 12, "problems": [], "p50_ms": 5.0, "p99_ms": 9.0}


@pytest.fixture(scope="module")
def scann_base(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ScaNN version and its twin."""
    root = tmp_path_factory.mktemp("scann")
    run = with_export(workdir, root / "run", index="partitioned")
    export(run, root / "retrieval", options=Options(twin=True), console=QUIET)
    return root / "retrieval"


def nodes_of(version: Path) -> list[Any]:
    graph: graph_pb2.GraphDef = saved_model_utils.get_meta_graph_def(
        str(version), "serve"
    ).graph_def
    return [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


def test_every_op_and_attribute_is_known_to_the_official_images(scann_base: Path) -> None:
    ops = json.loads(gzip.decompress(OPS.read_bytes()))["ops"]
    for version in (scann_base / "1", twin_of(scann_base) / "1"):
        graph = saved_model_utils.get_meta_graph_def(str(version), "serve").graph_def
        functions = {f.signature.name for f in graph.library.function}
        nodes = nodes_of(version)
        assert len(nodes) > 500
        for node in nodes:
            if node.op in functions:
                continue
            assert node.op in ops, f"{version}: {node.op}"
            attributes = {a for a in node.attr if not a.startswith("_")}
            assert attributes <= set(ops[node.op]), f"{version}: {node.op}: {attributes}"


def test_twin_has_the_same_signatures_and_no_custom_op(scann_base: Path) -> None:
    signatures = []
    for version, has_scann in ((scann_base / "1", True), (twin_of(scann_base) / "1", False)):
        assert any("Scann>" in node.op for node in nodes_of(version)) == has_scann
        meta = saved_model_utils.get_meta_graph_def(str(version), "serve")
        signatures.append(
            {
                name: [
                    {k: (v.dtype, [d.size for d in v.tensor_shape.dim]) for k, v in side.items()}
                    for side in (s.inputs, s.outputs)
                ]
                for name, s in meta.signature_def.items()
                if not name.startswith("__")
            }
        )
    assert signatures[0] == signatures[1] and len(signatures[0]) == 7


def test_twin_answers_where_scann_cannot_be_imported(scann_base: Path) -> None:
    report = json.loads((twin_of(scann_base) / "1" / REPORT).read_text())
    found = report["gate"]["checks"]["replay without scann"]
    assert found["records"] == 14 and found["problems"] == []
    # The check can fail: without ScaNN the other version cannot even be loaded.
    assert (
        "scann cannot be imported" in run_replay(scann_base / "1", with_scann=False)["problems"][0]
    )


def test_lists_of_the_twin_equal_exact_search(scann_base: Path, workdir: Path) -> None:
    config, dataset, model, _ = restore_run(workdir)
    states = load_states(dataset.root, dataset.manifest, dataset.spec)
    lengths = [len(h or ()) for h in states.columns["history_item_id"]]
    known = np.flatnonzero(np.array(lengths) > 25)  # popularity has no say any more
    request = {n: c[known] for n, c in build_request(dataset.spec, states).items()}
    twin = SavedModel(twin_of(scann_base) / "1")

    answer = twin.signatures["serving_default"].answer(request)
    users = twin.signatures["embed_user"].answer(request)["embedding"]
    twin.close()
    items = model.embed_catalog(dataset.catalog.size, day=dataset.manifest.splits.last_day)
    scores = users @ items.T / config.model.temperature
    scores[:, 0] = -np.inf
    index = {v.encode(): i for i, v in enumerate(dataset.catalog.video_id)}
    for row, history in zip(scores, request["history_item_id"], strict=True):
        seen = [v.encode() if isinstance(v, str) else v for v in history if v]
        row[[index[v] for v in seen if v in index]] = -np.inf
    ids = np.vectorize(index.__getitem__)(answer["item_id"])
    best = -np.sort(-scores, axis=1)[:, : config.export.k]
    np.testing.assert_allclose(np.take_along_axis(scores, ids, 1), best, atol=2e-3)
    np.testing.assert_allclose(answer["score"], best, atol=2e-3)


def test_refused_version_is_kept_aside_with_its_report(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.verdict.run_replay", passing_replay)
    base = tmp_path / "retrieval"
    run = with_export(workdir, tmp_path / "run", max_latency_ms=1e-6)
    with pytest.raises(UserError, match=r"the gate refused the version: latency: .*--force"):
        export(run, base, console=QUIET)
    assert versions(base) == []
    (aside,) = base.glob(".refused-*")
    assert (aside / "saved_model.pb").exists()
    report = json.loads((aside / REFUSAL_REPORT).read_text())
    assert report["gate"]["problems"][0].startswith("latency: ")

    result = export(run, base, options=Options(force=True), console=QUIET)
    assert versions(base) == [1] and result["gate"]["forced"]
    forced = json.loads((base / "1" / REPORT).read_text())["gate"]
    assert forced["forced"] and forced["problems"]


@pytest.mark.parametrize(
    ("recall", "expected"),
    [
        ({"popularity": 0.1, "candidate": 0.2, "live": 0.21}, []),
        ({"popularity": 0.1, "candidate": 0.2}, []),
        ({}, []),
        ({"popularity": 0.3, "candidate": 0.2}, ["popularity's 0.3"]),
        ({"popularity": 0.1, "candidate": 0.2, "live": 0.3}, ["live version's 0.3"]),
        ({"popularity": 0.4, "candidate": 0.2, "live": 0.3}, ["popularity's", "live version's"]),
    ],
)
def test_quality_is_held_to_popularity_and_to_the_live_version(
    recall: dict[str, float], expected: list[str]
) -> None:
    verdict = Verdict()
    verdict.quality(Quality(part="test", queries=9, k=10, items=90, recall=recall), margin=0.1)
    assert len(verdict.problems) == len(expected)
    assert all(e in p for e, p in zip(expected, verdict.problems, strict=True))


def test_what_the_gate_found_is_shown() -> None:
    verdict = Verdict()
    verdict.recall(0.5, target=0.95, k=100)
    recall = {"popularity": 0.4, "candidate": 0.2, "live": 0.3}
    verdict.quality(Quality(part="test", queries=9, k=10, items=90, recall=recall), margin=0.1)
    verdict.checks["replay"] = {"records": 14, "problems": [], "p50_ms": 1.5, "p99_ms": 2.5}
    verdict.checks["live"] = {"version": 3, "not_compared": "it takes other features"}
    console = Console(record=True, quiet=False, width=140, file=io.StringIO())
    verdict.show(console)
    shown = console.export_text()
    for each in ("recall@100", "0.5", "at least 0.95", "0.2", "popularity 0.4, live 0.3"):
        assert each in shown
    for each in ("live version 3", "it takes other features", "0 problems in 14", "p50 1.5"):
        assert each in shown
    assert len(verdict.problems) == 3 and all(f"refused: {p}" in shown for p in verdict.problems)


def test_gate_refuses_low_recall() -> None:
    verdict = Verdict()
    verdict.recall(0.951, target=0.95, k=100)
    assert not verdict.problems
    verdict.recall(0.93, target=0.95, k=100)
    assert verdict.problems == ["recall@100: found 0.9300, expected 0.95"]


def test_broken_clauses_are_named() -> None:
    lowest = np.finfo(np.float32).min
    good = {
        "item_id": np.array([[b"a", b"b", b""]], object),
        "score": np.array([[2.0, 1.0, lowest]], np.float32),
    }
    assert broken_clauses({}, good) == []

    def broken(items: list[bytes], scores: list[float], **inputs: np.ndarray) -> list[str]:
        return broken_clauses(
            inputs,
            {"item_id": np.array([items], object), "score": np.array([scores], np.float32)},
        )

    assert broken([b"a", b"a"], [2, 1]) == ["row 0 repeats an item"]
    assert broken([b"a", b"b"], [1, 2]) == ["scores do not descend"]
    assert "scores are not finite" in broken([b"a", b"b"], [1, float("nan")])
    assert broken([b"a", b""], [1, 0]) == ["'' and the lowest float do not go together"]
    one = np.array([[b"a"]], object)
    assert broken([b"a"], [1], exclude_item_id=one) == ["row 0 holds an excluded item"]
    assert broken([b"a"], [1], item_id=one[0]) == ["row 0 holds the item that was asked for"]


def test_other_answers_than_golden_are_named(scann_base: Path, tmp_path: Path) -> None:
    other = tmp_path / "9"
    shutil.copytree(scann_base / "1", other)
    records = list(read_golden(other))

    def worse(name: str, inputs: Any) -> Any:
        (outputs,) = [o for n, i, o in records if n == name and i is inputs]
        if name != "serving_default":
            return outputs
        return outputs | {"score": outputs["score"] + np.float32(0.5)}

    write_golden(other, [(n, i) for n, i, _ in records], worse)
    problems = run_replay(other, with_scann=True)["problems"]
    assert len(problems) == 2 and all("serving_default: score: " in p for p in problems)


def test_items_with_equal_scores_may_swap_places() -> None:
    def lists(items: list[bytes], scores: list[float]) -> dict[str, np.ndarray]:
        return {"item_id": np.array([items], object), "score": np.array([scores], np.float32)}

    one = lists([b"a", b"b", b"c"], [3, 2, 2])
    assert differences(lists([b"a", b"c", b"b"], [3, 2, 2]), one) == []
    assert differences(lists([b"z", b"b", b"c"], [3, 2, 2]), one) == [
        "item_id: found 1 other items than before"
    ]
    assert differences({"score": one["score"]}, one)


def test_golden_and_warm_up_users_are_made_up(scann_base: Path, workdir: Path) -> None:
    _, dataset, _, _ = restore_run(workdir)
    real = {u.encode() for u in load_states(dataset.root, dataset.manifest, dataset.spec).user_id}
    asked = [i["user_id"] for _, i, _ in read_golden(scann_base / "1") if "user_id" in i]
    assert asked and all(real.isdisjoint(users) for users in asked)
    assert (scann_base / "1" / GOLDEN_FILE).exists()
    raw = b"".join(
        tf.data.TFRecordDataset(
            str(scann_base / "1" / "assets.extra" / "tf_serving_warmup_requests")
        ).as_numpy_iterator()
    )
    assert b"made-up-" in raw and not any(user in raw for user in real)
