"""Serves a model over TF Serving's gRPC and REST, following its directory of versions.

    python -m serving.server --model_base_path=MODELS/retrieval --model_name=retrieval

Prints a line when it answers and one for each version that takes over; SIGTERM or SIGINT lets the
accepted requests finish and ends it with exit code 0.
"""

import gc
import signal
import threading
import time
from types import FrameType
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.grpc_server import Server

_MODEL_BASE_PATH = flags.DEFINE_string(
    "model_base_path",
    None,
    "Directory of the model's versions, each named by an integer.",
    required=True,
)
_MODEL_NAME = flags.DEFINE_string("model_name", None, "What clients call the model.", required=True)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
_PORT = flags.DEFINE_integer(
    "port", 8500, "Port to listen on; 0 picks a free one.", lower_bound=0, upper_bound=65535
)
_REST_API_PORT = flags.DEFINE_integer(
    "rest_api_port",
    8501,
    "Port of REST and metrics; 0 picks a free one, -1 offers neither.",
    lower_bound=-1,
    upper_bound=65535,
)
_MAX_CONCURRENT_REQUESTS = flags.DEFINE_integer(
    "max_concurrent_requests",
    256,
    "gRPC requests running or waiting; one more gets RESOURCE_EXHAUSTED at once.",
    lower_bound=1,
)
_MAX_MESSAGE_MIB = flags.DEFINE_integer(
    "max_message_mib", 64, "The largest request, in MiB.", lower_bound=1, upper_bound=2047
)
_POLL_INTERVAL_S = flags.DEFINE_float(
    "poll_interval_s", 1.0, "Seconds between looks for new versions.", lower_bound=0.01
)
_GRPC_WORKERS = flags.DEFINE_integer(
    "grpc_workers", 8, "How many requests run at the same time; others wait.", lower_bound=1
)


def main(argv: list[str]) -> dict[str, Any]:
    """Serves until it is told to stop."""
    del argv
    stop = threading.Event()

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    out = console()
    versions: list[int] = []

    def on_serving(version: int) -> None:
        versions.append(version)
        if len(versions) > 1:
            out.print(f"version {version} is serving", highlight=False)

    server = Server(
        _MODEL_BASE_PATH.value,
        _MODEL_NAME.value,
        host=_HOST.value,
        port=_PORT.value,
        poll_interval_s=_POLL_INTERVAL_S.value,
        grpc_workers=_GRPC_WORKERS.value,
        rest_port=None if _REST_API_PORT.value == -1 else _REST_API_PORT.value,
        max_concurrent_requests=_MAX_CONCURRENT_REQUESTS.value,
        max_message_mib=_MAX_MESSAGE_MIB.value,
        on_serving=on_serving,
    )
    out.print("loading", highlight=False)
    import serving.prediction_service  # noqa: F401  # Only now: TensorFlow takes seconds.

    # Half a second of garbage collection, in which no request is answered, becomes a thirtieth
    # when TensorFlow's own objects, which stay for good, are left out.
    gc.freeze()
    started_at = time.monotonic()
    server.start()
    out.print(
        f"serving {_MODEL_NAME.value} version {server.version} on {_HOST.value}:{server.port}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    with server:
        stop.wait()
        out.print("stopping", highlight=False)
    return {
        "model_name": _MODEL_NAME.value,
        "port": server.port,
        "rest_port": server.rest_port,
        "versions_served": versions,
        "served_s": round(time.monotonic() - started_at, 3),
    }


if __name__ == "__main__":
    run_app(main)
