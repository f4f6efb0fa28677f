"""What the server refuses, in the codes and words read off a real TF Serving 2.20."""

import re
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2

from tests.tiny_server import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    Client,
    metadata_request,
    predict_request,
    publish,
    refusal,
    save,
    serving,
    status_request,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a server that has version 1 on disk and serves version 3."""
    base_path = tmp_path_factory.mktemp("models")
    save(base_path / "3", 3)
    publish(base_path / "3", base_path, "1")
    with serving(base_path) as (_, client):
        yield client


def without_spec() -> Any:
    request = predict_request()
    request.ClearField("model_spec")
    return request


def with_label(label: str) -> Any:
    request = predict_request()
    request.model_spec.version_label = label
    return request


GOOD = {"age": np.array([10]), "history": [[b"a", b""]], "user_id": [b"u2"]}


def inputs_but(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not None}


def broken_content() -> Any:
    proto = tf.make_tensor_proto(np.array([1, 2]))
    proto.tensor_content = proto.tensor_content[:-1]
    return proto


REFUSED_PREDICTS = {
    "no model_spec": (without_spec(), INVALID_ARGUMENT, "Missing ModelSpec"),
    "empty name": (predict_request(name=""), INVALID_ARGUMENT, "ModelSpec has no name specified."),
    "unknown model": (
        predict_request(name="nomodel"),
        NOT_FOUND,
        "Servable not found for request: Latest(nomodel)",
    ),
    "unknown model's version": (
        predict_request(name="nomodel", version=3),
        NOT_FOUND,
        "Servable not found for request: Specific(nomodel, 3)",
    ),
    "version 99": (
        predict_request(version=99),
        NOT_FOUND,
        "Servable not found for request: Specific(M, 99)",
    ),
    "version 0": (
        predict_request(version=0),
        NOT_FOUND,
        "Servable not found for request: Specific(M, 0)",
    ),
    "version -1": (
        predict_request(version=-1),
        NOT_FOUND,
        "Servable not found for request: Specific(M, -1)",
    ),
    "version on disk but not the latest": (
        predict_request(version=1),
        NOT_FOUND,
        "Servable not found for request: Specific(M, 1)",
    ),
    "label": (
        with_label("stable"),
        INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    ),
    "unknown signature": (
        predict_request(signature="nope"),
        FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    "the initialiser is no signature": (
        predict_request({}, signature="__saved_model_init_op"),
        FAILED_PRECONDITION,
        'Serving signature key "__saved_model_init_op" not found.',
    ),
    "inputs missing": (
        predict_request({"user_id": [b"u1"]}),
        INVALID_ARGUMENT,
        "input size does not match signature: 1!=3 len({user_id}) != len({age,history,user_id})."
        " Sent extra: {}. Missing but required: {age,history}.",
    ),
    "no inputs": (
        predict_request({}),
        INVALID_ARGUMENT,
        "input size does not match signature: 0!=3 len({}) != len({age,history,user_id})."
        " Sent extra: {}. Missing but required: {age,history,user_id}.",
    ),
    "one too many": (
        predict_request({"user_id": [b"u1"], "extra": [1.0]}, signature="embed_user"),
        INVALID_ARGUMENT,
        "input size does not match signature: 2!=1 len({extra,user_id}) != len({user_id})."
        " Sent extra: {extra}. Missing but required: {}.",
    ),
    "misnamed": (
        predict_request(inputs_but(history=None, hist=[[b"a"]])),
        INVALID_ARGUMENT,
        "Signature input alias: history(feed name: serving_default_history:0) not found in request"
        " and no default value provided. Inputs expected to be in the request"
        " {age,hist,user_id}, or default input alias set: ",
    ),
    "wrong dtype of the first": (
        predict_request(inputs_but(age=[1.5])),
        INVALID_ARGUMENT,
        "Expects arg[0] to be int64 but float is provided",
    ),
    "wrong dtype of the last": (
        predict_request(inputs_but(user_id=np.array([1], np.int32))),
        INVALID_ARGUMENT,
        "Expects arg[2] to be string but int32 is provided",
    ),
    "dtype 0": (
        predict_request(inputs_but(user_id=tensor_pb2.TensorProto(string_val=[b"u1"]))),
        INVALID_ARGUMENT,
        "tensor parsing error: user_id",
    ),
    "bad content": (
        predict_request(inputs_but(age=broken_content())),
        INVALID_ARGUMENT,
        "tensor parsing error: age",
    ),
    "parsing comes before dtypes": (
        predict_request(inputs_but(age=[1.5], user_id=tensor_pb2.TensorProto())),
        INVALID_ARGUMENT,
        "tensor parsing error: user_id",
    ),
    "unknown output": (
        predict_request(output_filter=("score", "zzz")),
        INVALID_ARGUMENT,
        "output tensor alias not found in signature: zzz Outputs expected to be in the set"
        " {item_id,score}.",
    ),
    "repeated output": (
        predict_request(output_filter=("score", "item_id", "score")),
        INVALID_ARGUMENT,
        "duplicate output tensor alias: score",
    ),
    "filter comes before dtypes": (
        predict_request(inputs_but(age=[1.5]), output_filter=("score", "score")),
        INVALID_ARGUMENT,
        "duplicate output tensor alias: score",
    ),
    "a long text is cut": (
        predict_request(signature="n" * 2000),
        FAILED_PRECONDITION,
        'Serving signature key "' + "n" * (1024 - 23) + "...TRUNCATED",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PREDICTS)
def test_predict_refuses_as_tf_serving_does(client: Client, case: str) -> None:
    request, code, text = REFUSED_PREDICTS[case]
    assert refusal(client.predict, request) == (code, text)
    assert client.predict(predict_request()).model_spec.version.value == 3


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"history": [b"a"]}, ""),  # Rank 1 for 2.
        ({"user_id": [b"u1", b"u2"]}, "history and user_id differ"),
    ],
)
def test_what_an_op_refuses_is_an_invalid_argument(
    client: Client, changes: dict[str, Any], word: str
) -> None:
    code, text = refusal(client.predict, predict_request(inputs_but(**changes)))
    assert code is INVALID_ARGUMENT
    assert text and word in text
    assert "internal error" not in text


def test_a_refusal_may_quote_bytes_that_are_not_utf8(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    request = predict_request({"item_id": [b"\xff\xfe"]}, signature="similar_items")
    code, text = refusal(client.predict, request)
    assert code is INVALID_ARGUMENT
    assert "unknown items:" in text and r"\xff\xfe" in text
    assert caplog.text == ""


REFUSED_METADATA = {
    "no spec": (
        get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
        INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    "no field": (
        metadata_request(),
        INVALID_ARGUMENT,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "unknown field": (
        metadata_request("signature_def", "foo"),
        INVALID_ARGUMENT,
        "Metadata field foo is not supported",
    ),
    "unknown model": (
        metadata_request("signature_def", name="nomodel"),
        NOT_FOUND,
        "Servable not found for request: Latest(nomodel)",
    ),
}


@pytest.mark.parametrize("case", REFUSED_METADATA)
def test_metadata_refuses_as_tf_serving_does(client: Client, case: str) -> None:
    request, code, text = REFUSED_METADATA[case]
    assert refusal(client.metadata, request) == (code, text)


REFUSED_STATUSES = {
    "no spec": (
        get_model_status_pb2.GetModelStatusRequest(),
        INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    "unknown version": (status_request(99), NOT_FOUND, "Could not find version 99 of model M"),
    "unknown model": (
        status_request(name="nomodel"),
        NOT_FOUND,
        "Could not find any versions of model nomodel",
    ),
    "label": (
        status_request(label="stable"),
        INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    ),
}


@pytest.mark.parametrize("case", REFUSED_STATUSES)
def test_status_refuses_as_tf_serving_does(client: Client, case: str) -> None:
    request, code, text = REFUSED_STATUSES[case]
    assert refusal(client.status, request) == (code, text)


def test_a_bug_is_internal_with_an_id_and_its_text_only_in_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("serving.predict.encode_tensor", fail)
    request = predict_request({"user_id": [b"u-private"]}, signature="embed_user")
    code, text = refusal(client.predict, request)
    assert code is grpc.StatusCode.INTERNAL
    matched = re.fullmatch(r"internal error ([0-9a-f]{12})", text)
    assert matched
    assert f"error {matched[1]}" in caplog.text
    assert "secret detail" in caplog.text
    assert "u-private" not in caplog.text


def test_unoffered_methods_are_unimplemented(client: Client) -> None:
    code, _ = refusal(client.classify, classification_pb2.ClassificationRequest())
    assert code is grpc.StatusCode.UNIMPLEMENTED
