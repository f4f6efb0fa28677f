"""Serves a model over TF Serving's gRPC and REST, following its directory of versions.

    python -m serving.server --model_base_path=MODELS/retrieval --model_name=retrieval

Prints a line when it answers and one for each version that takes over; SIGTERM or SIGINT lets the
accepted requests finish and ends it with exit code 0.
"""

import gc
import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

from absl import flags

from configs.cli import console, run_app
from serving.cpp_logs import only_errors
from serving.grpc_server import Server
from serving.json_logs import log_as_json, log_event
from serving.option_flags import define_options
from serving.options import ServerOptions
from serving.versions import VersionState, VersionStatus

_OPTIONS = define_options()
_LOG_FORMAT = flags.DEFINE_enum(
    "log_format", "text", ["text", "json"], "Of stderr: warnings as text, or all events as JSON."
)


def main(argv: list[str]) -> dict[str, Any]:
    """Serves until it is told to stop."""
    del argv
    if _LOG_FORMAT.value == "json":
        log_as_json()
    options: ServerOptions = _OPTIONS()
    stop = threading.Event()

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    out = console()
    versions: list[int] = []

    def on_status(version: int, status: VersionStatus) -> None:
        log_event(
            logging.ERROR if status.error_code else logging.INFO,
            "version",
            version=version,
            state=status.state.name,
            error_code=status.error_code,
            error_message=status.error_message,
        )
        if status.state is VersionState.AVAILABLE:
            versions.append(version)
            if len(versions) > 1:
                out.print(f"version {version} is serving", highlight=False)

    server = Server(options, on_status=on_status)
    out.print("loading", highlight=False)
    import serving.prediction_service  # noqa: F401  # Only now: TensorFlow takes seconds.

    only_errors()
    # Half a second of garbage collection, in which no request is answered, becomes a thirtieth
    # when TensorFlow's own objects, which stay for good, are left out.
    gc.freeze()
    started_at = time.monotonic()
    server.start()
    out.print(
        f"serving {options.model_name} version {server.version} on {options.host}:{server.port}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    log_event(
        logging.INFO,
        "serving",
        model_name=options.model_name,
        version=server.version,
        port=server.port,
        rest_port=server.rest_port,
    )
    with server:
        stop.wait()
        out.print("stopping", highlight=False)
        log_event(logging.INFO, "stopping")
    return {
        "model_name": options.model_name,
        "port": server.port,
        "rest_port": server.rest_port,
        "versions_served": versions,
        "served_s": round(time.monotonic() - started_at, 3),
    }


if __name__ == "__main__":
    run_app(main)
