"""Warm-up requests of a version: answered before it serves, or it never does."""

from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.predict import predict
from tests.tiny_server import FAILED_PRECONDITION, predict_request, publish, serving, status_request
from tests.waiting import wait_until


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
    tiny_models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = publish(tiny_models[2], tmp_path / "staging", "2")
    by_signature = predict_request({"user_id": [b"u1"]}, signature="embed_user", name="other")
    write_warmup(good, warmup_record(predict_request()), warmup_record(by_signature))
    replayed = []

    def recording_predict(model: Any, request: Any) -> Any:
        replayed.append(request.model_spec.signature_name)
        return predict(model, request)

    monkeypatch.setattr("serving.warmup.predict", recording_predict)
    base_path = tmp_path / "model"
    publish(tiny_models[1], base_path, "1")
    with serving(base_path) as (server, _):
        assert replayed == []
        good.rename(base_path / "2")
        wait_until(lambda: server.version == 2)
        assert replayed == ["", "embed_user"]


def test_a_version_whose_warm_up_fails_never_serves(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    staging, base_path = tmp_path / "staging", tmp_path / "model"
    refused = publish(tiny_models[2], staging, "2")
    write_warmup(refused, warmup_record(predict_request(signature="nope")))
    garbage = publish(tiny_models[2], staging, "3")
    write_warmup(garbage, b"\xff\xff")
    corrupt = publish(tiny_models[2], staging, "4")
    (corrupt / "assets.extra").mkdir()
    (corrupt / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")
    too_many = publish(tiny_models[2], staging, "5")
    write_warmup(too_many, *[warmup_record(predict_request())] * 1001)
    unknown = publish(tiny_models[2], staging, "6")
    write_warmup(unknown, prediction_log_pb2.PredictionLog().SerializeToString())
    publish(tiny_models[1], base_path, "1")
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
