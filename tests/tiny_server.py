"""A tiny model, a client and a server around it, for the tests of serving."""

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.batching import Work, outcome_of
from serving.grpc_server import Server, serve
from serving.options import ServerOptions

NAME = "M"
TIMEOUT_S = 20
PREDICT = f"/v1/models/{NAME}:predict"
ROW = {"age": 10, "history": ["a", ""], "user_id": "u2"}
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
State = get_model_status_pb2.ModelVersionStatus.State


class Recommender(tf.Module):
    """Three items, one table of users, scores that name the version."""

    def __init__(self, version: int, ballast_mib: int = 0) -> None:
        super().__init__()
        self.ballast = tf.Variable(tf.zeros([ballast_mib << 18]))
        self.bias = tf.Variable(float(version))
        self.items = tf.Variable([b"a", b"b", b"c"])
        self.users = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([b"u1", b"u2"], tf.constant([1, 2], tf.int64)), 0
        )

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "age"),
            tf.TensorSpec([None, None], tf.string, "history"),
            tf.TensorSpec([None], tf.string, "user_id"),
        ]
    )
    def recommend(self, age: Any, history: Any, user_id: Any) -> dict[str, Any]:
        batch = tf.shape(user_id)[0]
        tf.debugging.assert_equal(tf.shape(history)[0], batch, "history and user_id differ")
        friends = tf.reduce_sum(self.users.lookup(history), axis=1)
        personal = tf.cast(self.users.lookup(user_id) + age + friends, tf.float32)
        scores = personal[:, tf.newaxis] * tf.constant([3.0, 2.0, 1.0]) + self.bias
        return {"item_id": tf.tile(self.items[tf.newaxis], [batch, 1]), "score": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "user_id")])
    def embed_user(self, user_id: Any) -> dict[str, Any]:
        index = tf.cast(self.users.lookup(user_id), tf.float32)
        return {"embedding": tf.stack([index, index * 2], 1), "twice": tf.stack([index, index], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "exclude_item_id")])
    def excluding(self, exclude_item_id: Any) -> dict[str, Any]:
        return {"count": tf.reduce_sum(tf.cast(exclude_item_id != b"", tf.int64), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "item_id")])
    def similar_items(self, item_id: Any) -> dict[str, Any]:
        known = tf.reduce_all(tf.reduce_any(item_id[:, tf.newaxis] == self.items, axis=1))
        with tf.control_dependencies([tf.debugging.Assert(known, ["unknown items:", item_id])]):
            return {"item_id": tf.identity(item_id)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, "x"), tf.TensorSpec([], tf.int64, "y")]
    )
    def with_default(self, x: Any, y: Any = tf.constant(7, tf.int64)) -> dict[str, Any]:  # noqa: B008
        return {"sum": x + y}


def save(directory: Path, version: int, *, ballast_mib: int = 0) -> Path:
    module = Recommender(version, ballast_mib)
    signatures = {
        "serving_default": module.recommend,
        "embed_user": module.embed_user,
        "excluding": module.excluding,
        "similar_items": module.similar_items,
        "with_default": module.with_default,
    }
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def publish(model: Path, base_path: Path, name: str) -> Path:
    """Makes a version appear at once."""
    base_path.mkdir(exist_ok=True)
    staging = base_path / f".{name}"
    shutil.copytree(model, staging)
    return staging.rename(base_path / name)


def withdraw(base_path: Path, name: str) -> None:
    """Makes a version disappear at once."""
    (base_path / name).rename(base_path / f".gone-{name}")


class Client:
    """What a TF Serving client does, no more."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, request: Any) -> Any:
        return self._prediction.Predict(request, timeout=TIMEOUT_S, wait_for_ready=True)

    def classify(self, request: Any) -> Any:
        return self._prediction.Classify(request, timeout=TIMEOUT_S)

    def metadata(self, request: Any) -> Any:
        return self._prediction.GetModelMetadata(request, timeout=TIMEOUT_S)

    def status(self, request: Any) -> Any:
        return self._model.GetModelStatus(request, timeout=TIMEOUT_S)

    def states(self) -> dict[int, int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = NAME
        return {s.version: s.state for s in self.status(request).model_version_status}


def options_of(base_path: Path, **changes: Any) -> ServerOptions:
    """A server of the tests: gRPC on a free port, no REST, quick to see new versions."""
    chosen = {"port": 0, "rest_api_port": -1, "poll_interval_s": 0.02, **changes}
    return ServerOptions(model_base_path=base_path, model_name=NAME, **chosen)


@contextmanager
def serving(base_path: Path, **options: Any) -> Iterator[tuple[Server, Client]]:
    with serve(options_of(base_path, **options)) as server:
        client = Client(server.port)
        try:
            yield server, client
        finally:
            client.channel.close()


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=TIMEOUT_S)
    try:
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        connection.request(method, path, content)
        response = connection.getresponse()
        text = response.read()
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(text) if is_json else text.decode()
    finally:
        connection.close()


def predict_request(
    inputs: dict[str, Any] | None = None,
    *,
    signature: str = "",
    version: int | None = None,
    name: str = NAME,
    output_filter: tuple[str, ...] = (),
) -> Any:
    if inputs is None:
        inputs = {"age": np.array([10]), "history": [[b"a", b""]], "user_id": [b"u2"]}
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        is_proto = isinstance(value, tensor_pb2.TensorProto)
        request.inputs[key].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return request


def refusal(call: Callable[[Any], Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(request)
    return error.value.code(), error.value.details()


def metadata_request(*fields: str, name: str = NAME) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def status_request(version: int | None = None, *, name: str = NAME, label: str = "") -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


class Held:
    """Runs of the graph, none of which ends before it is released."""

    def __init__(self) -> None:
        self.runs: list[Work] = []
        self.entered, self.released = threading.Event(), threading.Event()

    def __call__(self, work: Work) -> Any:
        self.runs.append(work)
        self.entered.set()
        assert self.released.wait(TIMEOUT_S)
        return outcome_of(work)
