"""The port of a server: one server's, and free again when it does not start."""

import socket
from pathlib import Path

import pytest

from configs.errors import UserError
from serving.grpc_server import Server
from tests.tiny_server import options_of, publish, serving


def test_a_server_that_cannot_load_gives_its_port_back(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    broken = publish(tiny_models[1], tmp_path, "1")
    (broken / "saved_model.pb").write_bytes(b"")
    server = Server(options_of(tmp_path))
    with pytest.raises(UserError, match=f"^--model_base_path: {tmp_path}: version 1: "):
        server.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", server.port))


def test_two_servers_do_not_share_a_port(tiny_models: dict[int, Path], tmp_path: Path) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with serving(tmp_path) as (server, _):
        with pytest.raises(UserError, match=f"127.0.0.1:{server.port}: Address already in use"):
            Server(options_of(tmp_path, port=server.port))
    with pytest.raises(UserError, match="cannot listen on no.such.host.invalid:0"):
        Server(options_of(tmp_path, host="no.such.host.invalid"))
