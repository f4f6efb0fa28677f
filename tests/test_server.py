"""The server over a real socket: what it answers, and the change from version to version."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from configs.errors import UserError
from serving.batching import Batcher, Work, outcome_of
from serving.grpc_server import Server, serve
from serving.predict import predict
from tests.tiny_server import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NAME,
    TIMEOUT_S,
    Client,
    State,
    metadata_request,
    options_of,
    predict_request,
    publish,
    refusal,
    save_all,
    serving,
    status_request,
    withdraw,
)
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """SavedModels to copy, whose scores say 1, 2 and 3."""
    return save_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def live(
    models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Client]]:
    """A server that no test changes: version 3 of a directory with 1 and 3."""
    base_path = tmp_path_factory.mktemp("live")
    publish(models[1], base_path, "1")
    publish(models[3], base_path, "0003")
    with serving(base_path) as running:
        yield running


@pytest.fixture
def client(live: tuple[Server, Client]) -> Client:
    return live[1]


def test_predict_answers_in_tf_servings_form(client: Client) -> None:
    response = client.predict(predict_request())
    assert response.model_spec.name == NAME
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    item_id, score = response.outputs["item_id"], response.outputs["score"]
    assert (item_id.dtype, score.dtype) == (types_pb2.DT_STRING, types_pb2.DT_FLOAT)
    assert [d.size for d in score.tensor_shape.dim] == [1, 3]
    assert list(item_id.string_val) == [b"a", b"b", b"c"]
    assert list(score.float_val) == [39.0, 27.0, 15.0]
    assert not score.tensor_content and not item_id.tensor_content
    assert set(response.outputs) == {"item_id", "score"}


def test_predict_takes_typed_fields_batches_and_named_versions(client: Client) -> None:
    age = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT64, int64_val=[10, 20, 30])
    age.tensor_shape.dim.add(size=3)
    users = [b"u1", b"u2", "unknown-ü".encode()]
    inputs = {"age": age, "history": np.zeros([3, 0], "S1"), "user_id": users}
    response = client.predict(predict_request(inputs, version=3))
    np.testing.assert_array_equal(
        tf.make_ndarray(response.outputs["score"]),
        [[36.0, 25.0, 14.0], [69.0, 47.0, 25.0], [93.0, 63.0, 33.0]],
    )
    empty = {"age": np.zeros([0], np.int64), "history": np.zeros([0, 1], "S1")}
    response = client.predict(predict_request({**empty, "user_id": np.zeros([0], "S1")}))
    assert tf.make_ndarray(response.outputs["score"]).shape == (0, 3)


def test_predict_by_signature_and_output_filter(client: Client) -> None:
    inputs = {"user_id": [b"u1", b"u2"]}
    response = client.predict(predict_request(inputs, signature="embed_user"))
    assert response.model_spec.signature_name == "embed_user"
    embedding = tf.make_ndarray(response.outputs["embedding"])
    np.testing.assert_array_equal(embedding, [[1.0, 2.0], [2.0, 4.0]])
    assert tf.make_ndarray(response.outputs["twice"]).tolist() == [[1.0, 1.0], [2.0, 2.0]]
    request = predict_request(inputs, signature="embed_user", output_filter=("twice",))
    assert set(client.predict(request).outputs) == {"twice"}


def test_predict_fills_in_a_signatures_defaults(client: Client) -> None:
    response = client.predict(predict_request({"x": np.array([1])}, signature="with_default"))
    assert list(response.outputs["sum"].int64_val) == [8]
    both = {"x": np.array([1]), "y": np.int64(2)}
    response = client.predict(predict_request(both, signature="with_default"))
    assert list(response.outputs["sum"].int64_val) == [3]
    assert refusal(
        client.predict, predict_request({"y": np.int64(2)}, signature="with_default")
    ) == (
        INVALID_ARGUMENT,
        "Signature input alias: x(feed name: with_default_x:0) not found in request and no default"
        " value provided. Inputs expected to be in the request {y}, or default input alias set: y",
    )
    assert refusal(
        client.predict,
        predict_request({"x": np.array([1]), "z": np.array([1])}, signature="with_default"),
    ) == (
        INVALID_ARGUMENT,
        "Inputs contains invalid name. Used request inputs: x, request input: x,z",
    )


def test_metadata_is_the_signature_map(client: Client) -> None:
    response = client.metadata(metadata_request("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == (NAME, 3)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert {name: info.dtype for name, info in default.inputs.items()} == {
        "age": types_pb2.DT_INT64,
        "history": types_pb2.DT_STRING,
        "user_id": types_pb2.DT_STRING,
    }
    assert [d.size for d in default.inputs["history"].tensor_shape.dim] == [-1, -1]
    assert set(default.outputs) == {"item_id", "score"}
    assert {"embed_user", "with_default"} < set(signatures.signature_def)


def test_status_of_one_version_and_of_all(client: Client) -> None:
    (only,) = client.status(status_request(3)).model_version_status
    assert (only.version, only.state, only.status.error_code) == (3, State.AVAILABLE, 0)
    assert client.states() == {3: State.AVAILABLE}


def test_no_request_fails_while_versions_come_and_go(
    models: dict[int, Path], tmp_path: Path
) -> None:
    base_path = tmp_path / "model"
    publish(models[1], base_path, "1")
    published = {1}
    latest = [0] * 4
    done = threading.Event()

    def fire(index: int, port: int) -> list[int]:
        """Requests without a pause; the versions that answered."""
        mine = Client(port)
        answered = []
        while not done.is_set():
            response = mine.predict(predict_request())
            version = response.model_spec.version.value
            assert version in published
            # The graph that answered is the one that the response names.
            assert response.outputs["score"].float_val[2] == 12.0 + version
            answered.append(version)
            latest[index] = version
        mine.channel.close()
        return answered

    with serving(base_path) as (server, client), futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(fire, index, server.port) for index in range(4)]
        try:
            wait_until(lambda: latest == [1] * 4)
            for version, removed in ((2, 1), (3, 2)):
                published.add(version)
                publish(models[version], base_path, str(version))
                wait_until(lambda version=version: latest == [version] * 4)
                withdraw(base_path, str(removed))
                wait_until(lambda removed=removed: client.states()[removed] == State.END)
            # And back: the newest is removed, an older one takes its place.
            publish(models[1], base_path, "1")
            withdraw(base_path, "3")
            wait_until(lambda: client.states()[3] == State.END)
            wait_until(lambda: latest == [1] * 4)
        finally:
            done.set()
        answered = [client.result(timeout=TIMEOUT_S) for client in clients]
        assert client.states() == {3: State.END, 2: State.END, 1: State.AVAILABLE}
    for versions in answered:
        changes = [v for i, v in enumerate(versions) if i == 0 or v != versions[i - 1]]
        assert changes == [1, 2, 3, 1]


def test_broken_versions_are_reported_and_the_old_one_serves_on(
    models: dict[int, Path], tmp_path: Path
) -> None:
    publish(models[1], tmp_path, "1")
    with serving(tmp_path) as (server, client):
        (tmp_path / "9").mkdir()
        without_variables = tmp_path / ".8"
        shutil.copytree(models[2], without_variables)
        shutil.rmtree(without_variables / "variables")
        without_variables.rename(tmp_path / "8")
        broken = tmp_path / ".7"
        shutil.copytree(models[2], broken)
        data = broken / "variables" / "variables.data-00000-of-00001"
        os.truncate(data, data.stat().st_size // 2)
        broken.rename(tmp_path / "7")
        half = tmp_path / ".6"
        shutil.copytree(models[2], half)
        (half / "variables" / "variables.index").unlink()
        half.rename(tmp_path / "6")
        garbage = tmp_path / ".5"
        shutil.copytree(models[2], garbage)
        (garbage / "saved_model.pb").write_bytes(b"\xff" * 99)
        garbage.rename(tmp_path / "5")
        no_op = tmp_path / ".4"
        shutil.copytree(models[2], no_op)
        graph = (no_op / "saved_model.pb").read_bytes()
        (no_op / "saved_model.pb").write_bytes(
            graph.replace(b"LookupTableFindV2", b"LookupTableFindX9")
        )
        no_op.rename(tmp_path / "4")

        expected = {7: State.END, 6: State.END, 5: State.END, 4: State.END, 1: State.AVAILABLE}
        wait_until(lambda: client.states() == expected)
        for status in client.status(status_request()).model_version_status[:-1]:
            assert status.status.error_code != 0
            assert status.status.error_message
        (no_such_op,) = client.status(status_request(4)).model_version_status
        assert no_such_op.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert "LookupTableFindX9" in no_such_op.status.error_message
        assert client.predict(predict_request()).model_spec.version.value == 1
        publish(models[3], tmp_path, "10")
        wait_until(lambda: server.version == 10)
        assert client.predict(predict_request()).model_spec.version.value == 10


def write_warmup(directory: Path, *records: bytes) -> None:
    (directory / "assets.extra").mkdir()
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def warmup_record(request: Any) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()


def test_warm_up_requests_are_answered_before_the_version_serves(
    models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = publish(models[2], tmp_path / "staging", "2")
    by_signature = predict_request({"user_id": [b"u1"]}, signature="embed_user", name="other")
    write_warmup(good, warmup_record(predict_request()), warmup_record(by_signature))
    replayed = []

    def recording_predict(model: Any, request: Any) -> Any:
        replayed.append(request.model_spec.signature_name)
        return predict(model, request)

    monkeypatch.setattr("serving.warmup.predict", recording_predict)
    base_path = tmp_path / "model"
    publish(models[1], base_path, "1")
    with serving(base_path) as (server, _):
        assert replayed == []
        good.rename(base_path / "2")
        wait_until(lambda: server.version == 2)
        assert replayed == ["", "embed_user"]


def test_a_version_whose_warm_up_fails_never_serves(
    models: dict[int, Path], tmp_path: Path
) -> None:
    staging, base_path = tmp_path / "staging", tmp_path / "model"
    refused = publish(models[2], staging, "2")
    write_warmup(refused, warmup_record(predict_request(signature="nope")))
    garbage = publish(models[2], staging, "3")
    write_warmup(garbage, b"\xff\xff")
    corrupt = publish(models[2], staging, "4")
    (corrupt / "assets.extra").mkdir()
    (corrupt / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")
    too_many = publish(models[2], staging, "5")
    write_warmup(too_many, *[warmup_record(predict_request())] * 1001)
    unknown = publish(models[2], staging, "6")
    write_warmup(unknown, prediction_log_pb2.PredictionLog().SerializeToString())
    publish(models[1], base_path, "1")
    for version in (refused, garbage, corrupt, too_many, unknown):
        version.rename(base_path / version.name)
    with serving(base_path) as (server, client):
        assert server.version == 1
        statuses = {
            s.version: s.status for s in client.status(status_request()).model_version_status
        }
    assert {version: status.error_code for version, status in statuses.items()} == {
        6: 3,
        5: 3,
        4: grpc.StatusCode.DATA_LOSS.value[0],
        3: 3,
        2: FAILED_PRECONDITION.value[0],
        1: 0,
    }
    assert 'Serving signature key "nope" not found.' in statuses[2].error_message
    assert "exceeds the maximum (1000)" in statuses[5].error_message


def test_stop_lets_accepted_requests_finish(
    models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(models[1], tmp_path, "1")
    entered, release = threading.Event(), threading.Event()

    def slow(work: Work) -> Any:
        entered.set()
        assert release.wait(TIMEOUT_S)
        return outcome_of(work)

    monkeypatch.setattr("serving.batching.outcome_of", slow)
    server = serve(options_of(tmp_path))
    client = Client(server.port)
    with futures.ThreadPoolExecutor(2) as pool:
        request = predict_request({"user_id": [b"u1"]}, signature="embed_user")
        accepted = pool.submit(client.predict, request)
        assert entered.wait(TIMEOUT_S)
        stopping = pool.submit(server.stop)
        with pytest.raises(futures.TimeoutError):
            stopping.result(timeout=0.3)
        release.set()
        assert list(accepted.result(timeout=TIMEOUT_S).outputs["embedding"].float_val) == [1.0, 2.0]
        stopping.result(timeout=TIMEOUT_S)
    client.channel.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def record_submitted(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Every work that reaches the batcher from now on."""
    submitted: list[Work] = []
    submit = Batcher.submit

    def recording(self: Batcher, work: Work) -> None:
        submitted.append(work)
        submit(self, work)

    monkeypatch.setattr(Batcher, "submit", recording)
    return submitted


def test_overload_is_refused_at_once_and_expired_requests_cost_nothing(
    models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(models[1], tmp_path, "1")
    entered, release = threading.Event(), threading.Event()
    answered = []

    def slow(work: Work) -> Any:
        answered.append(work)
        entered.set()
        assert release.wait(TIMEOUT_S)
        return outcome_of(work)

    monkeypatch.setattr("serving.batching.outcome_of", slow)
    submitted = record_submitted(monkeypatch)
    options = {"num_batch_threads": 1, "max_concurrent_requests": 2}
    with serving(tmp_path, **options) as (server, client), futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.predict, predict_request())
        assert entered.wait(TIMEOUT_S)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
        waiting = stub.Predict.future(predict_request(), timeout=3)
        wait_until(lambda: server.waiting == 1)
        assert refusal(stub.Predict, predict_request())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # The server's clock of the deadline is not the client's.
        wait_until(lambda: not submitted[1].is_wanted())
        release.set()
        assert running.result(timeout=TIMEOUT_S).model_spec.version.value == 1
        assert client.predict(predict_request()).model_spec.version.value == 1
    assert len(submitted) == 3
    assert len(answered) == 2


def test_a_request_whose_client_left_while_it_waited_is_not_run(
    models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(models[1], tmp_path, "1")
    entered, release = threading.Event(), threading.Event()
    run: list[Work] = []

    def slow(work: Work) -> Any:
        run.append(work)
        entered.set()
        assert release.wait(TIMEOUT_S)
        return outcome_of(work)

    monkeypatch.setattr("serving.batching.outcome_of", slow)
    submitted = record_submitted(monkeypatch)
    with (
        serving(tmp_path, num_batch_threads=1) as (server, client),
        futures.ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(client.predict, predict_request())
        assert entered.wait(TIMEOUT_S)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
        gone = stub.Predict.future(predict_request())
        wait_until(lambda: server.waiting == 1)
        gone.cancel()
        wait_until(lambda: not submitted[1].is_wanted())
        release.set()
        assert running.result(timeout=TIMEOUT_S).model_spec.version.value == 1
        assert client.predict(predict_request()).model_spec.version.value == 1
    assert len(run) == 2


def test_a_server_that_cannot_load_gives_its_port_back(
    models: dict[int, Path], tmp_path: Path
) -> None:
    broken = publish(models[1], tmp_path, "1")
    (broken / "saved_model.pb").write_bytes(b"")
    server = Server(options_of(tmp_path))
    with pytest.raises(UserError, match=f"^--model_base_path: {tmp_path}: version 1: "):
        server.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", server.port))


def test_two_servers_do_not_share_a_port(
    models: dict[int, Path], live: Any, tmp_path: Path
) -> None:
    publish(models[1], tmp_path, "1")
    port = live[0].port
    with pytest.raises(UserError, match=f"127.0.0.1:{port}: Address already in use"):
        Server(options_of(tmp_path, port=port))
    with pytest.raises(UserError, match="cannot listen on no.such.host.invalid:0"):
        Server(options_of(tmp_path, host="no.such.host.invalid"))
