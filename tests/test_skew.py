"""Training and serving see the same features, and give the same vectors and lists."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.columns import TIMESTAMP, UNKNOWN_ITEM
from preprocessing.features import FeatureSpec
from preprocessing.simulate import tables_in
from serving.client import Client
from serving.grpc_server import serve
from serving.offline import catalog_ids, embed_requests
from serving.options import ServerOptions
from serving.requests import Request, build_request, load_states, spec_of_dataset
from tests.conftest import UPLOADED_TODAY
from tests.quiet import QUIET
from trainer.dataset import AskedQueries, Dataset, load_queries
from trainer.model import TwoTower
from trainer.records import PAD_ITEM
from trainer.restore import restore_run


@pytest.fixture(scope="module")
def run(workdir: Path) -> tuple[Config, Dataset, TwoTower]:
    config, dataset, model, _ = restore_run(workdir)
    return config, dataset, model


@pytest.fixture(scope="module")
def client(model_base_path: Path) -> Iterator[Client]:
    options = ServerOptions(
        model_base_path=model_base_path, model_name="retrieval", port=0, rest_api_port=-1
    )
    with serve(options) as server:
        yield Client(f"localhost:{server.port}", "retrieval", timeout_s=30.0)


def rows_at(dataset: Dataset, part: str) -> AskedQueries:
    asked = load_queries(dataset, part)
    assert len(asked.queries) > 20
    return asked


def requests_from_log_cut_at(
    time: int, users: list[str], config: Config, logs: Path, tmp_path: Path
) -> Request:
    """What `serving.query` would send at `time` had the log ended there."""
    from preprocessing.job import preprocess

    cut = tmp_path / f"events-{time}.parquet"
    pl.scan_parquet(logs / "events" / "*.parquet").filter(
        pl.col("timestamp") < time
    ).collect().write_parquet(cut)
    output = tmp_path / f"dataset-{time}"
    preprocess(config, tables=tables_in(logs) | {"events": str(cut)}, output=output, display=QUIET)
    manifest = manifests.read(output)
    spec = spec_of_dataset(manifest)
    states = load_states(output, manifest, spec, user_ids=users)
    request = build_request(spec, states, timestamp=time)
    order = [states.user_id.index(user) for user in users]
    return {name: value[order] for name, value in request.items()}


def compare(spec: FeatureSpec, dataset: Dataset, rows: AskedQueries, request: Request) -> None:
    """Every feature column of the rows against the request, items by name."""
    history = f"{spec.sequence[0]}_item_id"
    for column in spec.request_columns:
        asked = request[column.name]
        if column.name == history:
            ids = rows.features[spec.history_item_column].numpy()
            stored = np.where(ids == PAD_ITEM, "", dataset.catalog.video_id[ids])
        else:
            stored = rows.features[column.name].numpy()
        if stored.dtype == object:
            stored = np.vectorize(_text, otypes=[object])(stored)
            asked = np.vectorize(_text, otypes=[object])(asked)
        if column.is_ragged:
            padded = np.full(stored.shape, "" if stored.dtype == object else 0, stored.dtype)
            padded[:, : asked.shape[1]] = asked
            asked = padded
        np.testing.assert_array_equal(asked, stored, err_msg=column.name)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_rows_of_the_job_equal_requests_from_the_log_cut_there(
    run: tuple[Config, Dataset, TwoTower], logs: Path, tmp_path: Path
) -> None:
    config, dataset, _ = run
    window = rows_at(dataset, "queries/test/window")
    time = dataset.manifest.splits.test_time
    assert set(window.queries.as_of.tolist()) == {time}
    rows = np.flatnonzero(window.queries.history.lengths > 0)
    known = window.take(rows, window.queries.take(rows))
    users = [_text(u) for u in known.queries.user_id]
    compare(
        dataset.spec, dataset, known, requests_from_log_cut_at(time, users, config, logs, tmp_path)
    )
    # Items without an embedding of their own are among them.
    assert (known.queries.history.values > dataset.catalog.vocabulary_size).any()


def test_rows_of_single_events_equal_requests_from_the_log_cut_there(
    run: tuple[Config, Dataset, TwoTower], logs: Path, tmp_path: Path
) -> None:
    config, dataset, _ = run
    asked = rows_at(dataset, "queries/test/next")
    today = int(np.flatnonzero(dataset.catalog.video_id == UPLOADED_TODAY)[0])
    with_today = np.flatnonzero(
        [today in asked.queries.history.row(row) for row in range(len(asked.queries))]
    )
    assert len(with_today) == 1
    assert not dataset.catalog.columns["in_vocabulary"][today]
    for row in (int(with_today[0]), 0, len(asked.queries) // 2):
        one = asked.take(np.array([row]), asked.queries.take(np.array([row])))
        time = int(one.queries.as_of[0])
        users = [_text(one.queries.user_id[0])]
        request = requests_from_log_cut_at(time, users, config, logs, tmp_path)
        assert request[TIMESTAMP].tolist() == [time]
        compare(dataset.spec, dataset, one, request)


def test_vectors_and_lists_equal_over_grpc(
    run: tuple[Config, Dataset, TwoTower], client: Client
) -> None:
    config, dataset, model = run
    states = load_states(dataset.root, dataset.manifest, dataset.spec)
    request = build_request(dataset.spec, states)
    # Popularity speaks for users of whom little is known; of these there is more.
    lengths = [len(h or ()) for h in states.columns[f"{dataset.spec.sequence[0]}_item_id"]]
    known = np.flatnonzero(np.array(lengths) > 20)[:200]
    assert len(known) > 50
    request = {name: column[known] for name, column in request.items()}
    history = request[f"{dataset.spec.sequence[0]}_item_id"]
    history[0, 0] = "a video that no catalog holds"
    ids = catalog_ids(dataset.catalog, history)
    assert (ids == UNKNOWN_ITEM).any() and (ids > dataset.catalog.vocabulary_size).any()
    vectors = embed_requests(model, dataset, request)

    served, version = client.predict(request, signature="embed_user")
    assert version == 1
    np.testing.assert_allclose(served["embedding"], vectors, atol=1e-5)

    day = dataset.manifest.splits.last_day
    scores = vectors @ model.embed_catalog(dataset.catalog.size, day=day).T
    scores[:, 0] = -np.inf
    for row, items in zip(scores, ids, strict=True):
        row[items[items >= 0]] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, : config.export.k]
    answer, _ = client.predict(request)
    expected = dataset.catalog.video_id[best]
    served_ids = np.vectorize(_text, otypes=[object])(answer["item_id"])
    expected_scores = np.take_along_axis(scores, best, 1) / config.model.temperature
    np.testing.assert_allclose(answer["score"], expected_scores, atol=1e-3)
    # Scores that differ by less than their rounding may swap places; nothing else may.
    close = np.abs(np.diff(expected_scores, axis=1)).min(axis=1) > 1e-3
    assert close.sum() > len(close) / 2
    np.testing.assert_array_equal(served_ids[close], expected[close])
    for row in range(len(ids)):
        assert set(served_ids[row]).isdisjoint(_text(v) for v in history[row] if v not in ("", b""))


def test_examples_answer_like_named_inputs(
    run: tuple[Config, Dataset, TwoTower], client: Client
) -> None:
    _, dataset, _ = run
    spec = dataset.spec
    states = load_states(dataset.root, dataset.manifest, spec, sample=8)
    request = build_request(spec, states)
    examples = []
    for row in range(len(states.user_id)):
        example = tf.train.Example()
        for column in spec.request_columns:
            value = np.atleast_1d(request[column.name][row])
            feature = example.features.feature[column.name]
            if column.dtype.value == "string":
                feature.bytes_list.value.extend(_text(v).encode() for v in value)
            elif column.dtype.value == "int64":
                feature.int64_list.value.extend(value.tolist())
            else:
                feature.float_list.value.extend(value.tolist())
        examples.append(example.SerializeToString())
    named, _ = client.predict(request)
    served, _ = client.predict(
        {"examples": np.array(examples, object)}, signature="recommend_examples"
    )
    np.testing.assert_array_equal(served["item_id"], named["item_id"])
    np.testing.assert_allclose(served["score"], named["score"], rtol=1e-6)

    nothing = tf.train.Example().SerializeToString()
    answer, _ = client.predict(
        {"examples": np.array([nothing], object)}, signature="recommend_examples"
    )
    assert np.isfinite(answer["score"]).all() and (answer["item_id"] != b"").all()
