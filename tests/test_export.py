import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Export, Index
from preprocessing.features import UNKNOWN_ITEM
from serving.exported import ExportedModel
from serving.exporter import REPORT, export
from serving.index import ExactSearcher, build, kind_for, mean_overlap
from serving.publish import building, next_version, versions
from serving.requests import empty_request
from tests.conftest import QUIET
from trainer.restore import restore_run


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
    searcher, tuning = build(items, queries, config=Export(index=kind), width=50)
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
    assert mean_overlap(rows.numpy(), exact) == pytest.approx(tuning.recall, abs=1e-6)
    found = np.take_along_axis(queries @ items.T, rows.numpy(), 1)
    np.testing.assert_allclose(scores, found, atol=1e-5)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(saved, str(tmp_path / "m"), options=options)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    again, _ = loaded.search(tf.constant(queries))
    np.testing.assert_array_equal(again, rows)


def test_version_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    base = tmp_path / "model"
    with pytest.raises(RuntimeError), building(base, 1) as place:
        (place / "half").write_text("written")
        assert versions(base) == []
        raise RuntimeError
    assert list(base.iterdir()) == []
    with building(base, 7) as place:
        (place / "whole").write_text("written")
    assert versions(base) == [7] and next_version(base) == 8
    with pytest.raises(UserError, match="already there"), building(base, 7):
        pass
    (base / "notes").mkdir()
    (base / "0009").mkdir()
    assert versions(base) == [7, 9]


def test_report_names_the_index_and_its_recall(model_base_path: Path) -> None:
    report = json.loads((model_base_path / "1" / REPORT).read_text())
    assert report["index"]["kind"] == "exact"
    assert report["recall"]["recall"] > 0.999
    assert report["recall"]["num_queries"] > 100


def test_saved_model_says_what_its_inputs_are(model_base_path: Path) -> None:
    loaded = tf.saved_model.load(str(model_base_path / "1"))
    assert set(loaded.signatures) == {"serving_default", "recommend_examples", "embed_user"}
    _, inputs = loaded.signatures["serving_default"].structured_input_signature
    assert inputs["user_id"].shape.as_list() == [None] and inputs["user_id"].dtype == tf.string
    assert inputs["history_item_id"].shape.as_list() == [None, None]
    outputs = loaded.signatures["serving_default"].structured_outputs
    assert set(outputs) == {"item_id", "score"}


def test_export_refuses_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--workdir: found no run\.json"):
        export(tmp_path, tmp_path / "models", console=QUIET)
    assert not (tmp_path / "models").exists()


def test_lists_keep_their_contract(workdir: Path) -> None:
    """Unique, sorted, finite, without the history; padded where too few items are eligible."""
    config, dataset, model, _ = restore_run(workdir)
    items = model.embed_catalog(dataset.catalog.size, day=0)[1:]
    config.export.k = dataset.catalog.size + 50  # more than there is
    exported = ExportedModel(
        model,
        ExactSearcher(items),
        dataset.catalog,
        config=config.export,
        temperature=config.model.temperature,
    )
    count = dataset.catalog.size - 1
    assert exported.width == count
    request = empty_request(dataset.spec, 2)
    request["history_item_id"] = np.array(
        [[dataset.catalog.video_id[1], dataset.catalog.video_id[2]], ["nowhere", ""]], object
    )
    request["history_timestamp"] = np.zeros((2, 2), np.int64)
    answer = exported.recommend(
        {n: tf.constant(v.tolist() if v.dtype == object else v) for n, v in request.items()}
    )
    ids, scores = answer["item_id"].numpy(), answer["score"].numpy()
    assert np.isfinite(scores).all() and (np.diff(scores, axis=1) <= 0).all()
    assert (ids[0, -2:] == b"").all() and (ids[0, :-2] != b"").all()
    assert (scores[0, -2:] == np.float32(tf.float32.min)).all()
    assert len(set(ids[0, :-2])) == count - 2
    assert dataset.catalog.video_id[1].encode() not in ids[0]
    assert (ids[1] != b"").all() and len(set(ids[1])) == count
    assert UNKNOWN_ITEM == 0  # row r of the index is catalog id r + 1
