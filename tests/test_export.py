import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tools import saved_model_utils

from configs.errors import UserError
from configs.schema import Config, Export, Index
from serving.assembly import recent_positives
from serving.exporter import Options, export
from serving.golden import MakeUp
from serving.index import kind_for
from serving.pareto import PARETO_JSON, PARETO_PLOT, pareto_front
from serving.publishing import REPORT
from serving.quality import embed, raw_items
from serving.replay import broken_clauses
from serving.requests import build_request, empty_request, load_states
from serving.saved_model import SavedModel
from serving.tuning import Tuning, best_of, build
from tests.quiet import QUIET
from trainer.dataset import Dataset
from trainer.restore import restore_run


@pytest.fixture(scope="module")
def dataset(workdir: Path) -> Dataset:
    return restore_run(workdir)[1]


@pytest.fixture(scope="module")
def served(model_base_path: Path) -> Iterator[SavedModel]:
    model = SavedModel(model_base_path / "1")
    yield model
    model.close()


def unit_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Vectors around a few centres, as trained ones are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim))
    vectors = centres[rng.integers(0, 20, count)] + 0.7 * rng.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(19_999, Index.EXACT), (20_000, Index.AH), (99_999, Index.AH), (100_000, Index.PARTITIONED)],
)
def test_kind_by_catalog_size(count: int, expected: Index) -> None:
    assert kind_for(count, Export()) is expected


@pytest.mark.parametrize("kind", [Index.EXACT, Index.AH, Index.PARTITIONED])
def test_index_reaches_its_recall_before_and_after_saving(kind: Index, tmp_path: Path) -> None:
    items, queries = unit_vectors(5_000, 32, 1), unit_vectors(100, 32, 2)
    tuned = build(items, queries, config=Export(index=kind), width=50)
    searcher, tuning = tuned.searcher, tuned.chosen
    assert tuning.kind == kind.value and tuning.num_items == 5_000
    assert tuning.recall >= 0.95
    exact = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :50]

    class Saved(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.searcher = searcher

        @tf.function(input_signature=[tf.TensorSpec([None, 32])])
        def search(self, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self.searcher.search(query, 50)

    saved = Saved()
    rows, scores = saved.search(queries)
    shares = [len(np.intersect1d(*each)) / 50 for each in zip(rows.numpy(), exact, strict=True)]
    assert np.mean(shares) == pytest.approx(tuning.recall, abs=1e-6)
    found = np.take_along_axis(queries @ items.T, rows.numpy(), 1)
    np.testing.assert_allclose(scores, found, atol=1e-5)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(saved, str(tmp_path / "m"), options=options)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    again, _ = loaded.search(tf.constant(queries))
    np.testing.assert_array_equal(again, rows)


def test_report_names_the_index_and_what_the_gate_found(model_base_path: Path) -> None:
    report = json.loads((model_base_path / "1" / REPORT).read_text())
    assert report["index"]["kind"] == "exact"
    checks = report["gate"]["checks"]
    assert checks["recall"]["found"] > 0.999
    assert checks["quality"]["queries"] > 100
    assert checks["quality"]["recall"]["candidate"] > checks["quality"]["recall"]["popularity"]
    assert checks["replay"]["records"] == 14 and checks["replay"]["p50_ms"] > 0
    assert report["gate"]["problems"] == [] and not report["gate"]["forced"]


def test_pareto_curve_is_written_with_its_plot(model_base_path: Path) -> None:
    found = json.loads((model_base_path / "1" / PARETO_JSON).read_text())
    assert found["chosen"] in found["tried"] and found["front"]
    assert {"recall", "p50_ms", "p99_ms", "size_bytes"} <= set(found["front"][0])
    plot = (model_base_path / "1" / PARETO_PLOT).read_text()
    assert plot.lstrip().startswith("<?xml") and "</svg>" in plot


def test_pareto_front_holds_what_nothing_beats() -> None:
    settings = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (3.5, 0.9), (9.0, 1.0)]
    tried = [
        Tuning(
            kind="ah",
            num_items=9,
            num_leaves=0,
            leaves_to_search=0,
            reorder=1,
            recall=recall,
            width=3,
            num_queries=1,
            p50_ms=ms,
            p99_ms=ms,
            size_bytes=1,
        )
        for ms, recall in settings
    ]
    assert [t.p50_ms for t in pareto_front(tried)] == [1.0, 3.0, 9.0]
    assert best_of(tried, 0.8).p50_ms == 3.0
    assert best_of(tried, 1.1).p50_ms == 9.0  # none reaches it: the most accurate


SIGNATURES = {
    "serving_default": ({"item_id", "score"}, "user_id"),
    "recommend_examples": ({"item_id", "score"}, "examples"),
    "recommend_excluding": ({"item_id", "score"}, "exclude_item_id"),
    "embed_user": ({"embedding"}, "user_id"),
    "embed_item": ({"embedding"}, "video_id"),
    "similar_items": ({"item_id", "score"}, "item_id"),
    "dataset": ({"fingerprint"}, "name"),
}


def test_saved_model_says_what_its_inputs_are(model_base_path: Path) -> None:
    """Named, batched inputs and outputs, as `saved_model_cli show` reads them."""
    meta = saved_model_utils.get_meta_graph_def(str(model_base_path / "1"), "serve")
    signatures = {n: s for n, s in meta.signature_def.items() if not n.startswith("__")}
    assert set(signatures) == set(SIGNATURES)
    for name, (outputs, an_input) in SIGNATURES.items():
        signature = signatures[name]
        assert set(signature.outputs) == outputs and an_input in signature.inputs
        for info in [*signature.inputs.values(), *signature.outputs.values()]:
            assert info.tensor_shape.dim[0].size == -1, name
    excluding = signatures["recommend_excluding"].inputs
    assert [d.size for d in excluding["exclude_item_id"].tensor_shape.dim] == [-1, -1]
    assert set(excluding) == {*signatures["serving_default"].inputs, "exclude_item_id"}


def test_export_refuses_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--workdir=.*: found no run\.json"):
        export(tmp_path, tmp_path / "models", console=QUIET)
    assert not (tmp_path / "models").exists()


def test_a_version_must_be_the_newest_for_the_twin_too(tmp_path: Path) -> None:
    """Said before any work is done, not when the version is to be published."""
    (tmp_path / "models_twin" / "5").mkdir(parents=True)
    options = Options(version=5, twin=True)
    with pytest.raises(UserError, match="--version=5: expected one of 6 to .*models_twin the newe"):
        export(tmp_path, tmp_path / "models", options=options, console=QUIET)


def test_the_model_says_which_dataset_it_was_made_of(served: SavedModel, dataset: Dataset) -> None:
    manifest = dataset.manifest
    asked = np.array([b"assets_fingerprint", b"another", b"spec_fingerprint"], object)
    (found,) = served.signatures["dataset"].run(asked)
    expected = [manifest.assets_fingerprint, "", manifest.spec_fingerprint]
    assert [value.decode() for value in found] == expected


def test_similar_items(served: SavedModel, dataset: Dataset) -> None:
    signature = served.signatures["similar_items"]
    ids = np.array([v.encode() for v in dataset.catalog.video_id[1:6]], object)
    items, scores = signature.run(ids)
    assert items.shape == scores.shape == (5, 20)
    assert all(own not in row for own, row in zip(ids, items, strict=True))
    assert (np.diff(scores, axis=1) <= 0).all() and (scores <= 1 + 1e-5).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="catalog does not hold.*v_nowhere"):
        signature.run(np.array([ids[0], b"v_nowhere"], object))
    assert signature.run(ids[:0])[0].shape == (0, 20)


def test_excluded_items_and_history_are_left_out(served: SavedModel, dataset: Dataset) -> None:
    request = build_request(
        dataset.spec, load_states(dataset.root, dataset.manifest, dataset.spec, sample=50)
    )

    def ask(excluded: np.ndarray) -> np.ndarray:
        inputs = request | {"exclude_item_id": excluded}
        return served.signatures["recommend_excluding"].answer(inputs)["item_id"]

    before = ask(np.full((50, 0), b"", object))
    default = served.signatures["serving_default"].answer(request)
    np.testing.assert_array_equal(before, default["item_id"])
    excluded = np.concatenate([before[:, :7], before[:, :7], np.full((50, 1), b"none", object)], 1)
    after = ask(excluded)
    for row in range(50):
        # The rest keeps its order, and what was left out never comes.
        np.testing.assert_array_equal(after[row, :-7], before[row, 7:])
        assert set(after[row]).isdisjoint(excluded[row])
        history = {v.encode() for v in request["history_item_id"][row] if v}
        assert set(after[row]).isdisjoint(history)


@pytest.mark.parametrize("batch", [0, 1, 512])
@pytest.mark.parametrize(
    "name", ["serving_default", "recommend_examples", "recommend_excluding", "similar_items"]
)
def test_every_signature_keeps_the_list_contract(
    served: SavedModel, dataset: Dataset, config: Config, name: str, batch: int
) -> None:
    make_up = MakeUp(
        spec=dataset.spec, video_id=dataset.catalog.video_id[1:], values={}, now=1_800_000_000
    )
    inputs = make_up.of_signature(name, batch, seed=7)
    outputs = served.signatures[name].answer(inputs)
    assert outputs["item_id"].shape == outputs["score"].shape == (batch, config.export.k)
    assert broken_clauses(inputs, outputs) == []
    assert (outputs["item_id"] != b"").all()  # the catalog has items enough
    for row, history in zip(outputs["item_id"], inputs.get("history_item_id", ()), strict=False):
        assert set(row).isdisjoint(history)


def test_history_longer_than_the_model_reads(served: SavedModel, dataset: Dataset) -> None:
    """The newest items count, wherever the padding is; all of it is left out of the list."""
    rng = np.random.default_rng(0)
    ids = np.array([v.encode() for v in dataset.catalog.video_id[1:]], object)
    length = dataset.spec.sequence[1].max_length
    newest = ids[rng.integers(0, len(ids), length)]
    times = np.arange(1, length + 1)
    rows = []
    for before, after in ((0, 0), (10_000, 0), (30, 40)):
        older = np.full(before, ids[0])
        rows.append(
            (
                np.concatenate([older, newest, np.full(after, b"", object)]),
                np.concatenate([np.zeros(before), times, np.zeros(after)]).astype(np.int64),
            )
        )
    vectors = []
    for items, seconds in rows:
        request = empty_request(dataset.spec, 1)
        request |= {"history_item_id": items[None], "history_timestamp": seconds[None]}
        vectors.append(served.signatures["embed_user"].answer(request)["embedding"])
        listed = served.signatures["serving_default"].answer(request)["item_id"]
        assert set(listed[0]).isdisjoint(items)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=1e-6)


def test_embed_item_is_the_item_tower(served: SavedModel, workdir: Path, dataset: Dataset) -> None:
    _, _, model, _ = restore_run(workdir)
    day = dataset.manifest.splits.last_day
    expected = model.embed_catalog(dataset.catalog.size, day=day)[1:]
    raw = {name: column[1:] for name, column in raw_items(dataset, day).items()}
    np.testing.assert_allclose(embed(served, "embed_item", raw), expected, atol=1e-5)


def test_popularity_fades_with_the_history(
    served: SavedModel, workdir: Path, dataset: Dataset
) -> None:
    """α is .5 without a history and halves with each known item of it."""
    config, _, model, _ = restore_run(workdir)
    assert (config.export.popularity_weight, config.export.popularity_half_life) == (0.5, 1.0)
    counts = recent_positives(dataset, config.export.popularity_days)[1:]
    log_popularity = np.log((counts + 1) / (counts + 1).sum())
    items = model.embed_catalog(dataset.catalog.size, day=dataset.manifest.splits.last_day)[1:]
    ids = np.array([v.encode() for v in dataset.catalog.video_id[1:]], object)
    row_of = {v: i for i, v in enumerate(ids)}
    rng = np.random.default_rng(1)
    for length in (0, 1, 3, 20):
        request = empty_request(dataset.spec, 30)
        if length:
            history = ids[rng.integers(0, len(ids), (30, length))]
            history = np.concatenate([history, np.full((30, 2), b"a stranger", object)], 1)
            times = np.tile(np.arange(length + 2), (30, 1))
            request |= {"history_item_id": history, "history_timestamp": times}
        users = served.signatures["embed_user"].answer(request)["embedding"]
        answer = served.signatures["serving_default"].answer(request)
        rows = np.vectorize(row_of.__getitem__)(answer["item_id"])
        alpha = 0.5 * 0.5**length
        dots = np.take_along_axis(users @ items.T, rows, 1) / config.model.temperature
        expected = (1 - alpha) * dots + alpha * log_popularity[rows]
        np.testing.assert_allclose(answer["score"], expected, atol=2e-3)
        if not length:
            nearest = np.argsort(-(users @ items.T), axis=1)[:, : rows.shape[1]]
            assert log_popularity[rows].mean() > log_popularity[nearest].mean()


def test_what_the_request_carries_counts_for_unknown_users(
    served: SavedModel, dataset: Dataset
) -> None:
    countries = dataset.assets.vocabularies["country"][:2]
    request = empty_request(dataset.spec, 2)
    request["country"] = np.array([c.encode() for c in countries], object)
    items = served.signatures["serving_default"].answer(request)["item_id"]
    assert (items[0] != items[1]).any()
