"""Requests that wait for a run: too many, too late, left by their client, or met by a stop."""

import socket
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.batching import Batcher, Work
from serving.grpc_server import serve
from tests.tiny_server import (
    TIMEOUT_S,
    Client,
    Held,
    options_of,
    predict_request,
    publish,
    refusal,
    serving,
)
from tests.waiting import wait_until


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr("serving.batching.outcome_of", held)
    return held


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Every work that reaches the batcher from now on."""
    submitted: list[Work] = []
    submit = Batcher.submit

    def recording(self: Batcher, work: Work) -> None:
        submitted.append(work)
        submit(self, work)

    monkeypatch.setattr(Batcher, "submit", recording)
    return submitted


def test_overload_is_refused_at_once_and_expired_requests_cost_nothing(
    tiny_models: dict[int, Path], tmp_path: Path, held: Held, submitted: list[Work]
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    options = {"num_batch_threads": 1, "max_concurrent_requests": 2}
    with serving(tmp_path, **options) as (server, client), futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.predict, predict_request())
        assert held.entered.wait(TIMEOUT_S)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
        waiting = stub.Predict.future(predict_request(), timeout=3)
        wait_until(lambda: server.waiting == 1)
        assert refusal(stub.Predict, predict_request())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # The server's clock of the deadline is not the client's.
        wait_until(lambda: not submitted[1].is_wanted())
        held.released.set()
        assert running.result(timeout=TIMEOUT_S).model_spec.version.value == 1
        assert client.predict(predict_request()).model_spec.version.value == 1
    assert len(submitted) == 3
    assert len(held.runs) == 2


def test_a_request_whose_client_left_while_it_waited_is_not_run(
    tiny_models: dict[int, Path], tmp_path: Path, held: Held, submitted: list[Work]
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with (
        serving(tmp_path, num_batch_threads=1) as (server, client),
        futures.ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(client.predict, predict_request())
        assert held.entered.wait(TIMEOUT_S)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
        gone = stub.Predict.future(predict_request())
        wait_until(lambda: server.waiting == 1)
        gone.cancel()
        wait_until(lambda: not submitted[1].is_wanted())
        held.released.set()
        assert running.result(timeout=TIMEOUT_S).model_spec.version.value == 1
        assert client.predict(predict_request()).model_spec.version.value == 1
    assert len(held.runs) == 2


def test_stop_lets_accepted_requests_finish(
    tiny_models: dict[int, Path], tmp_path: Path, held: Held
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    server = serve(options_of(tmp_path))
    client = Client(server.port)
    with futures.ThreadPoolExecutor(2) as pool:
        request = predict_request({"user_id": [b"u1"]}, signature="embed_user")
        accepted = pool.submit(client.predict, request)
        assert held.entered.wait(TIMEOUT_S)
        stopping = pool.submit(server.stop)
        with pytest.raises(futures.TimeoutError):
            stopping.result(timeout=0.3)
        held.released.set()
        assert list(accepted.result(timeout=TIMEOUT_S).outputs["embedding"].float_val) == [1.0, 2.0]
        stopping.result(timeout=TIMEOUT_S)
    client.channel.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
