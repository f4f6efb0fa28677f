"""What the server answers over a real socket: Predict, metadata and status."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.grpc_server import Server
from tests.tiny_server import (
    INVALID_ARGUMENT,
    NAME,
    Client,
    State,
    metadata_request,
    predict_request,
    publish,
    refusal,
    serving,
    status_request,
)


@pytest.fixture(scope="module")
def live(
    tiny_models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Client]]:
    """A server that no test changes: version 3 of a directory with 1 and 3."""
    base_path = tmp_path_factory.mktemp("live")
    publish(tiny_models[1], base_path, "1")
    publish(tiny_models[3], base_path, "0003")
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
