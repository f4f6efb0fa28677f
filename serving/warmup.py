"""Replays the requests that a version brings along, so that no client waits for its first one."""

from pathlib import Path

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.predict import predict
from serving.request_errors import RequestError
from serving.saved_model import SavedModel
from serving.versions import LoadError

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
# Source: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h, kMaxNumRecords.
MAX_RECORDS = 1000

_INVALID_ARGUMENT = 3  # google.rpc.Code.


def warm_up(model: SavedModel, directory: Path) -> None:
    """Answers each request of the version's warm-up file once; without the file, none.

    The file is a TFRecord of `PredictionLog`, of which only `predict_log` is known here.

    Raises:
        LoadError: the file cannot be read, a request cannot be answered, or there are more than
            `MAX_RECORDS`.
    """
    path = directory / WARMUP_FILE
    if not path.exists():
        return
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise LoadError(
                    _INVALID_ARGUMENT,
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}",
                )
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if not log.HasField("predict_log"):
                raise LoadError(_INVALID_ARGUMENT, f"record {count} of {path} is no predict_log")
            predict(model, log.predict_log.request)
    except RequestError as error:
        code = error.code.value[0]
        raise LoadError(code, f"warm-up request {count} of {path}: {error}") from error
    except tf.errors.OpError as error:
        raise LoadError(error.error_code, f"{path}: {error.message}") from error
    except DecodeError as error:
        raise LoadError(_INVALID_ARGUMENT, f"record {count} of {path}: {error}") from error
    logging.info("warmed up with the %d requests of %s", count, path)
