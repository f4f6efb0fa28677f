"""REST, metrics, health and reflection over real sockets, in TF Serving's words."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from configs.errors import UserError
from serving.grpc_server import Server
from tests.tiny_server import (
    NAME,
    PREDICT,
    ROW,
    TIMEOUT_S,
    Client,
    ask,
    options_of,
    predict_request,
    publish,
    save,
    serving,
)
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Client]]:
    base_path = tmp_path_factory.mktemp("models")
    save(base_path / "3", 3)
    with serving(base_path, rest_api_port=0, max_message_mib=1) as running:
        yield running


def test_rows_and_columns_answer_as_grpc_does(live: tuple[Server, Client]) -> None:
    server, client = live
    over_grpc = list(client.predict(predict_request()).outputs["score"].float_val)
    status, answer = ask(server, "POST", f"/v1/models/{NAME}:predict", {"instances": [ROW, ROW]})
    row = {"item_id": ["a", "b", "c"], "score": over_grpc}
    assert (status, answer) == (200, {"predictions": [row, row]})
    columns = {"age": [10], "history": [["a", ""]], "user_id": [{"b64": "dTI="}]}
    status, answer = ask(
        server, "POST", f"/v1/models/{NAME}/versions/3:predict", {"inputs": columns}
    )
    assert (status, answer) == (
        200,
        {"outputs": {"item_id": [["a", "b", "c"]], "score": [over_grpc]}},
    )


def test_half_of_a_surrogate_pair_is_an_unknown_id(live: tuple[Server, Client]) -> None:
    body = {"signature_name": "similar_items", "inputs": {"item_id": ["\ud800"]}}
    status, answer = ask(live[0], "POST", PREDICT, body)
    assert status == 400 and "unknown items:" in answer["error"]


def test_a_signature_with_one_input_takes_plain_values(live: tuple[Server, Client]) -> None:
    coded = {"b64": base64.b64encode(b"u2").decode()}
    body = {"signature_name": "embed_user", "instances": ["u1", coded]}
    status, answer = ask(live[0], "POST", f"/v1/models/{NAME}:predict", body)
    assert status == 200
    assert [row["embedding"] for row in answer["predictions"]] == [[1.0, 2.0], [2.0, 4.0]]


def test_status_and_metadata(live: tuple[Server, Client]) -> None:
    status = {"error_code": "OK", "error_message": ""}
    versions = [{"version": "3", "state": "AVAILABLE", "status": status}]
    for path in ("", "/versions/3"):
        assert ask(live[0], "GET", f"/v1/models/{NAME}{path}") == (
            200,
            {"model_version_status": versions},
        )
    code, answer = ask(live[0], "GET", f"/v1/models/{NAME}/metadata")
    assert (code, answer["model_spec"]["version"]) == (200, "3")
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["history"]["dtype"] == "DT_STRING"
    sizes = [d["size"] for d in signature["inputs"]["history"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "-1"]


REFUSED = {
    "unknown model's status": (
        ("GET", "/v1/models/nomodel", None),
        (404, "Could not find any versions of model nomodel"),
    ),
    "unknown model": (
        ("POST", "/v1/models/nomodel:predict", {"instances": [ROW]}),
        (404, "Servable not found for request: Latest(nomodel)"),
    ),
    "unknown version": (
        ("POST", f"/v1/models/{NAME}/versions/9:predict", {"instances": [ROW]}),
        (404, f"Servable not found for request: Specific({NAME}, 9)"),
    ),
    "label": (
        ("POST", f"/v1/models/{NAME}/labels/stable:predict", {"instances": [ROW]}),
        (400, "Unrecognized servable version label: stable"),
    ),
    "no method": (
        ("POST", f"/v1/models/{NAME}:nope", {}),
        (400, f"Malformed request: POST /v1/models/{NAME}:nope"),
    ),
    "neither form": (("POST", PREDICT, {}), (400, "Missing 'inputs' or 'instances' key")),
    "no JSON": (
        ("POST", PREDICT, b'{"instances": oops}'),
        (400, "JSON Parse error: Invalid value. at offset: 14"),
    ),
    "empty body": (
        ("POST", PREDICT, b""),
        (400, "JSON Parse error: The document is empty"),
    ),
    "nested without end": (
        ("POST", PREDICT, b"[" * 100_000),
        (400, "JSON Parse error: Invalid value. at offset: 0"),
    ),
    "a key missing": (
        ("POST", PREDICT, {"instances": [{"user_id": "u1"}]}),
        (
            400,
            "Failed to process element: 0 of 'instances' list. JSON object: "
            '{\n    "user_id": "u1"\n} keys must be equal to: age,history,user_id',
        ),
    ),
    "unknown signature": (
        ("POST", PREDICT, {"signature_name": "nope", "instances": [ROW]}),
        (400, 'Serving signature name: "nope" not found in signature def'),
    ),
    "wrong type": (
        ("POST", PREDICT, {"inputs": {"age": ["x"], "history": [["a"]], "user_id": ["u"]}}),
        (400, 'JSON Value: "x" Type: String is not of expected type: int64'),
    ),
    "an input missing": (
        ("POST", PREDICT, {"inputs": {"age": [1], "user_id": ["u"]}}),
        (400, "Missing named input: history in 'inputs' object."),
    ),
    "rows of different shapes": (
        ("POST", PREDICT, {"instances": [ROW, {**ROW, "history": ["a"]}]}),
        (
            400,
            "Failed to process element: 1 key: history of 'instances' list. Error:"
            " INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rest_refuses_as_tf_serving_does(live: tuple[Server, Client], case: str) -> None:
    request, (status, text) = REFUSED[case]
    assert ask(live[0], *request) == (status, {"error": text})


def test_a_body_above_the_limit_is_refused_unread(live: tuple[Server, Client]) -> None:
    with socket.create_connection(("127.0.0.1", live[0].rest_port), TIMEOUT_S) as client:
        head = f"POST {PREDICT} HTTP/1.1\r\nContent-Length: {2**21}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    too_long = predict_request({"user_id": [b"x" * 2**20]}, signature="embed_user")
    with pytest.raises(grpc.RpcError) as error:
        live[1].predict(too_long)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_random_bytes_and_lost_clients_leave_the_server_well(live: tuple[Server, Client]) -> None:
    server, client = live
    for port in (server.port, server.rest_port):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as noise:
            noise.sendall(bytes(range(256)) * 8)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as gone:
            gone.sendall(f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 99\r\n\r\nhalf".encode())
    assert client.predict(predict_request()).model_spec.version.value == 3
    assert ask(server, "POST", PREDICT, {"instances": [ROW]})[0] == 200


def test_a_bug_in_rest_is_500_with_an_id(
    live: tuple[Server, Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("serving.predict.encode_tensor", fail)
    status, answer = ask(live[0], "POST", PREDICT, {"instances": [ROW]})
    assert status == 500
    assert answer["error"].startswith("internal error ")
    assert answer["error"].rsplit(" ", 1)[1] in caplog.text
    assert "secret detail" in caplog.text


def samples(server: Server) -> dict[str, float]:
    _, text = ask(server, "GET", "/monitoring/prometheus/metrics")
    return {
        f"{s.name}{sorted(s.labels.items())}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_metrics_count_by_status_and_entrypoint(live: tuple[Server, Client]) -> None:
    server, client = live
    before = samples(server)
    client.predict(predict_request())
    ask(server, "POST", PREDICT, {"instances": [ROW, ROW]})
    with pytest.raises(grpc.RpcError):
        client.predict(predict_request(version=9))
    # A request is counted just after its client has the answer.
    wait_until(lambda: samples(server)["streamrec_requests_in_flight[]"] == 0)
    after = samples(server)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    # The parser, not the page, ends a counter's name in _total.
    counts = ":tensorflow:serving:request_count_total[('model_name', 'M'), ('status', '{}')]"
    assert grown[counts.format("OK")] == 2
    assert grown[counts.format("NOT_FOUND")] == 1
    latency = (
        ":tensorflow:serving:request_latency_count[('API', 'Predict'), ('entrypoint', '{}'),"
        " ('model_name', 'M'), ('status', 'OK')]"
    )
    assert grown[latency.format("GRPC")] == grown[latency.format("REST")] == 1
    signature = "[('signature', 'serving_default')]"
    assert grown[f"streamrec_predict_batch_size_sum{signature}"] == 3
    assert grown[f"streamrec_predict_latency_seconds_count{signature}"] == 2
    assert after["streamrec_requests_in_flight[]"] == after["streamrec_queue_length[]"] == 0
    runtime = "[('API', 'Predict'), ('model_name', 'M'), ('runtime', 'TF1')]"
    runs = grown[f":tensorflow:serving:runtime_latency_count{runtime}"]
    assert runs == grown[":tensorflow:core:graph_runs_total[]"] == 2
    assert grown["streamrec_batch_rows_sum[]"] == 3
    assert grown["streamrec_batch_queue_seconds_count[]"] == 2
    assert 0 < grown[":tensorflow:core:graph_run_time_usecs_total[]"]
    assert (
        grown[f":tensorflow:serving:runtime_latency_sum{runtime}"]
        == grown[":tensorflow:core:graph_run_time_usecs_total[]"]
    )
    _, text = ask(server, "GET", "/monitoring/prometheus/metrics")
    assert ':tensorflow:serving:request_count{model_name="M",status="OK"} ' in text
    assert "\n:tensorflow:core:graph_runs " in text


def test_health_and_reflection(live: tuple[Server, Client]) -> None:
    channel = live[1].channel
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=TIMEOUT_S)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
    assert {s.name for s in answer.list_services_response.service} == {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_a_rest_port_in_use_is_named_and_the_grpc_port_given_back(
    live: tuple[Server, Client], tmp_path: Path
) -> None:
    publish(save(tmp_path / "made", 1), tmp_path / "model", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    taken = live[0].rest_port
    with pytest.raises(UserError, match=f"--rest_api_port: cannot listen on 127.0.0.1:{taken}"):
        Server(options_of(tmp_path / "model", port=port, rest_api_port=taken))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
