"""A server that speaks TF Serving's gRPC for one model; `python -m serving.server` as a library."""

import errno
import socket
from collections.abc import Callable
from concurrent import futures
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from configs.errors import UserError
from serving.options import ServerOptions
from serving.rest_server import RestServer
from serving.tls import ServerTls
from serving.version_dirs import require_version
from serving.versions import VersionStatus, VersionWatcher

if TYPE_CHECKING:
    from grpc_health.v1.health import HealthServicer

    from serving.batching import Batcher
    from serving.saved_model import SavedModel
    from serving.unary_method import UnaryMethod

_DRAIN_TIMEOUT_S = 30.0
_MIB = 2**20
# Of all methods but Predict: status, metadata, health and reflection.
_OTHER_METHODS_THREADS = 8


class Server:
    """One model, served from its newest version.

    Made, it holds the port; started, it answers; stopped, it has answered what it accepted.

    Attributes:
        port: the port it listens on.
        rest_port: the port of REST and metrics, or None.
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        on_status: Callable[[int, VersionStatus], None] = lambda version, status: None,
    ) -> None:
        """Takes the ports, and does not need TensorFlow to refuse what cannot be served.

        Args:
            options: what to serve, where, and within which limits.
            on_status: called after each change of a version's state.

        Raises:
            UserError: an option makes no sense, there is no version to serve, or a port cannot be
                had.
        """
        options.validate()
        require_version(options.model_base_path, only=options.version)
        tls = _tls(options)
        self._options = options
        self._grpc_server = grpc.server(
            futures.ThreadPoolExecutor(_OTHER_METHODS_THREADS, thread_name_prefix="grpc"),
            options=[
                # Two servers would share a port without a word.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _bytes_or_no_limit(options.max_message_mib)),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=options.max_concurrent_requests,
        )
        self.port: int = _bind(self._grpc_server, options, tls)
        self._rest: RestServer | None = None
        if options.rest_api_port != -1:
            try:
                self._rest = RestServer(options, tls)
            except UserError:
                self._free_port()
                raise
        self._health: HealthServicer | None = None
        self._batcher: Batcher | None = None
        self._predict: UnaryMethod | None = None
        self._versions: VersionWatcher[SavedModel] = VersionWatcher(
            options.model_base_path,
            load=partial(_load, intra_op_threads=options.tensorflow_intra_op_parallelism),
            poll_interval_s=options.poll_interval_s,
            only=options.version,
            on_status=on_status,
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

    @property
    def waiting(self) -> int:
        """How many requests wait for a run."""
        return self._batcher.waiting() if self._batcher else 0

    def start(self) -> None:
        """Loads the newest version and begins to answer.

        Raises:
            UserError: no version can be loaded.
        """
        # Here and not at the top: a port in use is refused before these are imported.
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection

        from serving.batching import Batcher
        from serving.limits import Limits
        from serving.metrics import Metrics
        from serving.model_service import MODEL_SERVICE, ModelService
        from serving.prediction_service import (
            PREDICT_METHOD,
            PREDICTION_SERVICE,
            PredictionService,
        )
        from serving.rest_api import RestApi
        from serving.unary_method import UnaryMethod

        try:
            self._versions.start()
        except UserError:
            self._free_port()
            if self._rest:
                self._rest.stop()
            raise
        metrics = Metrics(self._options.model_name)
        limits = Limits(
            max_batch=self._options.max_batch,
            max_history_length=self._options.max_history_length,
            max_exclusions=self._options.max_exclusions,
        )
        self._batcher = Batcher(
            max_rows=self._options.max_batch_size,
            timeout_s=1e-3 * self._options.batch_timeout_ms,
            runs=self._options.num_batch_threads,
            on_run=metrics.run,
        )
        metrics.queue_length(self._batcher.waiting)
        prediction = PredictionService(
            self._options.model_name, self._versions, metrics, limits=limits, batcher=self._batcher
        )
        self._predict = UnaryMethod(
            self._grpc_server,
            PREDICT_METHOD,
            prediction.predict,
            self._batcher.run_some,
            self._batcher.has_work,
            # One more than run, so that there is always one that receives or refuses.
            threads=self._options.num_batch_threads + 1,
            # Not where a run waits for more rows.
            may_stay=not self._options.batch_timeout_ms,
            max_concurrent=self._options.max_concurrent_requests,
        )
        status = ModelService(
            self._options.model_name,
            self._versions,
            can_reload=self._options.enable_reload_config,
        )
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
        self._predict.start()
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
        if self._predict:
            self._predict.stop()
        if self._batcher:
            self._batcher.close()
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


def serve(options: ServerOptions) -> Server:
    """Starts a `Server` in this process; used as a context manager, it stops at the end.

    Raises:
        UserError: an option makes no sense, there is no version to serve, none can be loaded, or a
            port cannot be had.
    """
    server = Server(options)
    server.start()
    return server


def _bytes_or_no_limit(mib: int | None) -> int:
    return -1 if mib is None else mib * _MIB


def _load(directory: Path, *, intra_op_threads: int) -> "SavedModel":
    """A warmed-up version."""
    # Not at the top, for TensorFlow takes seconds to import.
    from serving.saved_model import SavedModel
    from serving.warmup import warm_up

    model = SavedModel(directory, intra_op_threads=intra_op_threads)
    try:
        warm_up(model, directory)
    except Exception:
        model.close()
        raise
    return model


def _tls(options: ServerOptions) -> ServerTls | None:
    if options.ssl_certificate is None or options.ssl_key is None:
        return None
    return ServerTls(
        certificate=options.ssl_certificate, key=options.ssl_key, client_ca=options.client_ca
    )


def _bind(grpc_server: grpc.Server, options: ServerOptions, tls: ServerTls | None) -> int:
    """Makes the server listen and returns the port.

    Raises:
        UserError: host or port cannot be had.
    """
    host, port = options.host, options.port
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        _probe(host, port)
        if tls:
            return grpc_server.add_secure_port(address, tls.grpc_credentials)
        return grpc_server.add_insecure_port(address)
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
