"""A server that speaks TF Serving's gRPC for one model; `python -m serving.server` as a library."""

import errno
import socket
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from configs.errors import UserError
from serving.rest_server import RestServer
from serving.versions import VersionWatcher, require_version

if TYPE_CHECKING:
    from grpc_health.v1.health import HealthServicer

    from serving.saved_model import SavedModel

_DRAIN_TIMEOUT_S = 30.0
_MIB = 2**20


class Server:
    """One model, served from its newest version.

    Made, it holds the port; started, it answers; stopped, it has answered what it accepted.

    Attributes:
        port: the port it listens on.
        rest_port: the port of REST and metrics, or None.
    """

    def __init__(
        self,
        model_base_path: Path | str,
        model_name: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        poll_interval_s: float = 1.0,
        grpc_workers: int = 8,
        rest_port: int | None = None,
        max_concurrent_requests: int | None = None,
        max_message_mib: int | None = None,
        on_serving: Callable[[int], None] = lambda version: None,
    ) -> None:
        """Takes the port, and does not need TensorFlow to refuse what cannot be served.

        Args:
            model_base_path: the directory of version directories.
            model_name: what clients call the model.
            host: the address to listen on.
            port: 0 picks a free one.
            poll_interval_s: seconds between looks at `model_base_path`.
            grpc_workers: how many requests run at the same time; others wait.
            rest_port: of REST and metrics; 0 picks a free one, None offers neither.
            max_concurrent_requests: of gRPC, running or waiting; one more is refused at once with
                RESOURCE_EXHAUSTED. None: no limit, as TF Serving.
            max_message_mib: the largest request; a larger one is refused with RESOURCE_EXHAUSTED.
                None: no limit, as TF Serving.
            on_serving: called with each version that begins to answer.

        Raises:
            UserError: there is no version to serve, or the port cannot be had.
        """
        base_path = Path(model_base_path)
        require_version(base_path)
        self._model_name = model_name
        self._grpc_server = grpc.server(
            futures.ThreadPoolExecutor(grpc_workers, thread_name_prefix="grpc"),
            options=[
                # Two servers would share a port without a word.
                ("grpc.so_reuseport", 0),
                (
                    "grpc.max_receive_message_length",
                    -1 if max_message_mib is None else max_message_mib * _MIB,
                ),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=max_concurrent_requests,
        )
        self.port: int = _bind(self._grpc_server, host=host, port=port)
        self._rest: RestServer | None = None
        if rest_port is not None:
            try:
                self._rest = RestServer(host, rest_port, max_body_mib=max_message_mib)
            except UserError:
                self._free_port()
                raise
        self._health: HealthServicer | None = None
        self._versions: VersionWatcher[SavedModel] = VersionWatcher(
            base_path,
            load=_load,
            poll_interval_s=poll_interval_s,
            on_serving=on_serving,
        )

    @property
    def rest_port(self) -> int | None:
        """The port of REST and metrics, or None."""
        return self._rest.port if self._rest else None

    def _free_port(self) -> None:
        """A gRPC server that was never started keeps its port."""
        self._grpc_server.start()
        self._grpc_server.stop(grace=None).wait()

    @property
    def version(self) -> int:
        """The version that answers now."""
        return self._versions.serving_version

    def start(self) -> None:
        """Loads the newest version and begins to answer.

        Raises:
            UserError: no version can be loaded.
        """
        # Here and not at the top: a port in use is refused before these are imported.
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection

        from serving.metrics import Metrics
        from serving.model_service import MODEL_SERVICE, ModelService
        from serving.prediction_service import PREDICTION_SERVICE, PredictionService
        from serving.rest_api import RestApi

        try:
            self._versions.start()
        except UserError:
            self._free_port()
            if self._rest:
                self._rest.stop()
            raise
        metrics = Metrics(self._model_name)
        prediction = PredictionService(self._model_name, self._versions, metrics)
        status = ModelService(self._model_name, self._versions)
        self._grpc_server.add_generic_rpc_handlers(
            [prediction.rpc_handlers(), status.rpc_handlers()]
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc_server)
        services = (PREDICTION_SERVICE, MODEL_SERVICE)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc_server
        )
        # No version, no start: from here on there is always one that answers.
        for service in (health.OVERALL_HEALTH, *services):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._grpc_server.start()
        if self._rest:
            self._rest.start(RestApi(prediction, status, metrics))

    def stop(self) -> None:
        """Refuses new requests, waits for the accepted ones (30 s at most) and frees the model."""
        if self._health:
            self._health.enter_graceful_shutdown()
        stopping = self._grpc_server.stop(grace=_DRAIN_TIMEOUT_S)
        if self._rest:
            self._rest.stop(grace_s=_DRAIN_TIMEOUT_S)
        stopping.wait()
        self._versions.stop()

    def __enter__(self) -> Self:
        """The started server itself."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server."""
        self.stop()


def serve(
    model_base_path: Path | str,
    model_name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    poll_interval_s: float = 1.0,
    grpc_workers: int = 8,
    rest_port: int | None = None,
    max_concurrent_requests: int | None = None,
    max_message_mib: int | None = None,
) -> Server:
    """Starts a `Server` in this process; used as a context manager, it stops at the end.

    Raises:
        UserError: there is no version to serve, none can be loaded, or the port cannot be had.
    """
    server = Server(
        model_base_path,
        model_name,
        host=host,
        port=port,
        poll_interval_s=poll_interval_s,
        grpc_workers=grpc_workers,
        rest_port=rest_port,
        max_concurrent_requests=max_concurrent_requests,
        max_message_mib=max_message_mib,
    )
    server.start()
    return server


def _load(directory: Path) -> "SavedModel":
    """A warmed-up version."""
    # Not at the top, for TensorFlow takes seconds to import.
    from serving.saved_model import SavedModel
    from serving.warmup import warm_up

    model = SavedModel(directory)
    try:
        warm_up(model, directory)
    except Exception:
        model.close()
        raise
    return model


def _bind(grpc_server: grpc.Server, *, host: str, port: int) -> int:
    """Makes the server listen and returns the port.

    Raises:
        UserError: host or port cannot be had.
    """
    try:
        _probe(host, port)
        return grpc_server.add_insecure_port(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--host, --port: cannot listen on {host}:{port}: {reason}") from error


def _probe(host: str, port: int) -> None:
    """Asks the system for the port, since gRPC reports why it was refused on stderr only.

    Raises:
        OSError: one of the host's addresses has the port in use, or none can be had.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    refusals = []
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            refusals.append(error)
    if len(refusals) == len(addresses):
        raise refusals[0]
