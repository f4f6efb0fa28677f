"""A server of a model in a process of its own, and what it is asked."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError

NAME = "benchmark"
"""Of the model."""
PREDICT = "/tensorflow.serving.PredictionService/Predict"

Inputs = dict[str, np.ndarray]


def newest_version(base_path: Path) -> Path:
    """The version that a server of this base path answers from.

    Raises:
        UserError: there is none.
    """
    from serving.version_dirs import find_versions

    versions = find_versions(base_path)
    if not versions:
        raise UserError(f"--model: {base_path}: found no version, expected one by serving.export")
    return next(iter(versions.values()))


def stored_requests(directory: Path) -> list[tuple[bytes, Inputs]]:
    """The version's own warm-up requests, row by row: PredictRequests and what is in them.

    Raises:
        UserError: it has none.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from serving.warmup import WARMUP_FILE

    path = directory / WARMUP_FILE
    if not path.exists():
        raise UserError(f"--model: {directory}: found no {WARMUP_FILE}")
    requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        asked = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if asked.model_spec.signature_name not in ("", "serving_default"):
            continue
        decoded = {name: tf.make_ndarray(value) for name, value in asked.inputs.items()}
        for row in range(len(next(iter(decoded.values())))):
            one = {name: value[row : row + 1] for name, value in decoded.items()}
            request = predict_pb2.PredictRequest()
            request.model_spec.name = NAME
            for name, value in one.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            requests.append((request.SerializeToString(), one))
    return requests


@contextmanager
def server(base_path: Path, server_flags: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """A server's process id and port."""
    command = [sys.executable, "-m", "serving.server", f"--model_base_path={base_path}"]
    command += [f"--model_name={NAME}", "--port=0", "--rest_api_port=0", *server_flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.match(r"serving \S+ version \d+ on \S+:(\d+)", line):
                    yield process.pid, int(found[1])
                    return
            raise UserError("the server ended before it was ready")
        finally:
            process.send_signal(signal.SIGTERM)


def latencies_ms(ask: Callable[[int], Any], numbers: range) -> np.ndarray:
    """How long each answer takes, one after the other."""
    times = []
    for i in numbers:
        begin = time.perf_counter()
        ask(i)
        times.append(1e3 * (time.perf_counter() - begin))
    return np.array(times)
