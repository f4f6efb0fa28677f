"""Requests of made-up users that a server answers before it makes a version available."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from preprocessing.features import USER_ID, FeatureSpec
from serving.requests import empty_request
from serving.warmup import WARMUP_FILE

_BATCH_SIZES = (1, 32)


def write_warmup(version_dir: Path, spec: FeatureSpec) -> None:
    """Writes one request for each signature and batch size, none of them of a real user.

    Args:
        version_dir: of the SavedModel.
        spec: of its features.
    """
    path = version_dir / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in _BATCH_SIZES:
            request = empty_request(spec, size)
            if USER_ID in request:
                request[USER_ID] = np.array([f"warmup_{i}".encode() for i in range(size)], object)
            examples = tf.constant([tf.train.Example().SerializeToString()] * size)
            for signature, inputs in (
                ("serving_default", request),
                ("embed_user", request),
                ("recommend_examples", {"examples": examples}),
            ):
                predict = predict_pb2.PredictRequest()
                predict.model_spec.signature_name = signature
                for name, value in inputs.items():
                    predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(predict)
                writer.write(log.SerializeToString())
