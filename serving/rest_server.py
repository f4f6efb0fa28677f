"""The HTTP side of the server: threads of the standard library's http.server.

A web framework would bring an event loop that this server's work, a call into TensorFlow, would
only block; REST is the convenient way in, gRPC the fast one.
"""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from serving.options import ServerOptions
from serving.tls import ServerTls

if TYPE_CHECKING:
    from serving.rest_api import RestApi

_MIB = 2**20
# A client that sends or reads nothing for so long is dropped.
_SOCKET_TIMEOUT_S = 30.0
# More connections than this are closed at once: each holds a thread.
_MAX_CONNECTIONS = 128


class RestServer:
    """REST and metrics on a port of their own.

    Made, it holds the port; started, it answers; stopped, it has answered what it accepted.
    """

    def __init__(self, options: ServerOptions, tls: ServerTls | None) -> None:
        """Takes the port.

        Raises:
            UserError: it cannot be had.
        """
        try:
            self._http = _HttpServer(options, tls)
        except OSError as error:
            raise UserError(
                "--host, --rest_api_port: cannot listen on"
                f" {options.host}:{options.rest_api_port}: {error.strerror}"
            ) from error
        self.port: int = self._http.server_address[1]
        self._thread: threading.Thread | None = None

    def start(self, api: "RestApi") -> None:
        """Begins to answer from `api`."""
        self._http.api = api
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="rest", daemon=True
        )
        self._thread.start()

    def stop(self, *, grace_s: float = 0.0) -> None:
        """Accepts no more and waits `grace_s` seconds at most for the answers under way."""
        self._http.is_stopping = True
        if self._thread:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        deadline = time.monotonic() + grace_s
        while self._http.answering and time.monotonic() < deadline:
            time.sleep(0.01)


class _HttpServer(http.server.ThreadingHTTPServer):
    """A thread for each connection, at most `_MAX_CONNECTIONS`."""

    daemon_threads = True
    # Like gRPC's, this port is not shared, but the last server's closed connections do not hold it.
    allow_reuse_address = True
    allow_reuse_port = False
    request_queue_size = 128

    def __init__(self, options: ServerOptions, tls: ServerTls | None) -> None:
        super().__init__((options.host, options.rest_api_port), _Handler)
        mib = options.max_message_mib
        self.max_body = None if mib is None else mib * _MIB
        self._tls = tls
        self.api: RestApi | None = None
        self.is_stopping = False
        self.answering = 0
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(_MAX_CONNECTIONS)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts a request, from its headers on, as one that a stop waits for."""
        with self._lock:
            self.answering += 1
        try:
            yield
        finally:
            with self._lock:
                self.answering -= 1

    def server_bind(self) -> None:
        # Of HTTPServer, without its look-up of the host's name, which can take seconds.
        http.server.socketserver.TCPServer.server_bind(self)  # type: ignore[attr-defined]
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self._tls:
                # Here, in the connection's own thread: the handshake waits for the client.
                request.settimeout(_SOCKET_TIMEOUT_S)
                request = self._tls.context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:  # No handshake: a plaintext client, or one without a certificate.
            self.shutdown_request(request)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; bugs are answered and logged by the API."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_TIMEOUT_S
    server: _HttpServer
    # Two writes, of headers and body, would wait for the client's acknowledgement between them.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answers without a body to read."""
        with self.server.counted():
            self._answer(b"")

    def do_POST(self) -> None:
        """Reads a body of a stated length, and answers."""
        with self.server.counted():
            self._post()

    def _post(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            return self._refuse(411, "Content-Length is missing")
        limit = self.server.max_body
        if len(length) > 18 or (limit is not None and int(length) > limit):
            return self._refuse(413, f"request of {length[:18]} bytes, the limit is {limit}")
        body = self.rfile.read(int(length))
        if len(body) == int(length):
            self._answer(body)
        else:
            self.close_connection = True
        return None

    def _answer(self, body: bytes) -> None:
        assert self.server.api is not None
        self._send(*self.server.api.answer(self.command, self.path, body))

    def _refuse(self, status: int, text: str) -> None:
        self.close_connection = True  # The body was not read.
        self._send(status, "application/json", b'{"error": "%b"}\n' % text.encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        if self.server.is_stopping:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: paths and addresses are the client's business, and metrics count."""
