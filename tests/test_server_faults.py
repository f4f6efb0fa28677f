"""Faults of disks, clients and time: the server answers on, and nothing piles up."""

import http.client
import os
import socket
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.grpc_server import Server
from tests.damage import flip_a_bit
from tests.tiny_server import (
    INVALID_ARGUMENT,
    PREDICT,
    ROW,
    TIMEOUT_S,
    Client,
    State,
    ask,
    predict_request,
    publish,
    refusal,
    save,
    serving,
    status_request,
    withdraw,
)
from tests.waiting import wait_until

# `make soak` sets it to 600.
SOAK_S = float(os.environ.get("SOAK_S", "3"))


@pytest.mark.parametrize("name", ["variables.data-00000-of-00001", "variables.index"])
def test_a_version_with_a_flipped_bit_never_serves(
    tiny_models: dict[int, Path], tmp_path: Path, name: str
) -> None:
    base_path = tmp_path / "model"
    publish(tiny_models[1], base_path, "1")
    broken = publish(tiny_models[2], tmp_path / "staging", "2")
    flip_a_bit(broken / "variables" / name)
    with serving(base_path) as (server, client):
        broken.rename(base_path / "2")
        wait_until(lambda: client.states().get(2) == State.END)
        (status,) = client.status(status_request(2)).model_version_status
        assert status.status.error_code == grpc.StatusCode.DATA_LOSS.value[0]
        assert client.predict(predict_request()).model_spec.version.value == server.version == 1


def test_a_history_as_long_as_the_limit_is_answered(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with serving(tmp_path, rest_api_port=0) as (server, client):
        history = [b"u2"] * 10_000
        inputs = {"age": np.array([0]), "history": [history], "user_id": [b"new"]}
        answered = client.predict(predict_request(inputs)).outputs["score"].float_val
        assert list(answered) == [60_001.0, 40_001.0, 20_001.0]
        row = {"age": 0, "history": ["u2"] * 10_000, "user_id": "new"}
        status, answer = ask(server, "POST", PREDICT, {"instances": [row]})
        assert (status, answer["predictions"][0]["score"]) == (200, list(answered))
        one_more = predict_request({**inputs, "history": [[*history, b"u2"]]})
        assert refusal(client.predict, one_more)[0] is INVALID_ARGUMENT


def test_a_slow_client_is_dropped_and_holds_up_nobody(
    tiny_models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.rest_server._Handler.timeout", 0.5)
    publish(tiny_models[1], tmp_path, "1")
    with serving(tmp_path, rest_api_port=0) as (server, client):
        slow = [
            socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            for port in (server.rest_port, server.port)
            for _ in range(8)
        ]
        for connection in slow:
            connection.sendall(b"POST ")
        assert ask(server, "POST", PREDICT, {"instances": [ROW]})[0] == 200
        assert client.predict(predict_request()).model_spec.version.value == 1
        for connection in slow[:8]:
            assert connection.recv(1) == b""  # The server hung up.
        for connection in slow:
            connection.close()


class Load:
    """Clients of both protocols that ask without a pause, rightly and wrongly."""

    def __init__(self, server: Server, version: int) -> None:
        self.server = server
        self.done = threading.Event()
        self.pool = futures.ThreadPoolExecutor(4)
        self.asked = 0
        self.available = {version}
        work = (self._predict, self._predict, self._refused, self._rest)
        self.running = [self.pool.submit(each) for each in work]

    def stop(self) -> None:
        """Ends it; raises what went wrong."""
        self.done.set()
        for each in self.running:
            each.result(timeout=TIMEOUT_S)
        self.pool.shutdown()

    def check(self) -> None:
        """Raises what went wrong so far."""
        for each in self.running:
            if each.done():
                each.result()

    def _predict(self) -> None:
        client = Client(self.server.port)
        while not self.done.is_set():
            response = client.predict(predict_request())
            version = response.model_spec.version.value
            assert version in self.available
            # Published copies of version v's graph are named 3 n + v.
            assert response.outputs["score"].float_val[2] == 12.0 + (version - 1) % 3 + 1
            self.asked += 1
        client.channel.close()

    def _refused(self) -> None:
        client = Client(self.server.port)
        while not self.done.is_set():
            assert refusal(client.predict, predict_request({}))[0] is INVALID_ARGUMENT
            assert State.AVAILABLE in client.states().values()
        client.channel.close()

    def _rest(self) -> None:
        while not self.done.is_set():
            try:
                assert ask(self.server, "POST", PREDICT, {"instances": [ROW]})[0] == 200
                assert ask(self.server, "GET", "/monitoring/prometheus/metrics")[0] == 200
            except (OSError, http.client.HTTPException):
                if not self.done.is_set():
                    raise


def reload_once(load: Load, models: dict[int, Path], base_path: Path, number: int) -> None:
    """Publishes a version, waits until it serves, and removes the one before."""
    load.available.add(number)
    publish(models[(number - 1) % 3 + 1], base_path, str(number))
    wait_until(lambda: load.server.version == number)
    withdraw(base_path, str(number - 1))
    load.check()


def used() -> dict[str, int]:
    """Threads, file handles and resident MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "threads": threading.active_count(),
        "handles": len(os.listdir("/proc/self/fd")),
        "mib": pages * os.sysconf("SC_PAGE_SIZE") >> 20,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(SOAK_S + 300)
def test_mixed_load_leaves_nothing_behind(tiny_models: dict[int, Path], tmp_path: Path) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with serving(tmp_path, rest_api_port=0) as (server, _):
        load = Load(server, 1)
        try:
            reload_once(load, tiny_models, tmp_path, 2)
            time.sleep(SOAK_S / 4)
            before = used()
            until = time.monotonic() + SOAK_S
            number = 3
            while time.monotonic() < until:
                reload_once(load, tiny_models, tmp_path, number)
                number += 1
                time.sleep(SOAK_S / 20)
            wait_until(lambda: used()["threads"] <= before["threads"] + 8)
            wait_until(lambda: used()["handles"] <= before["handles"] + 16)
            after = used()
        finally:
            load.stop()
    assert load.asked > 0
    assert after["mib"] <= 1.1 * before["mib"] + 16, (before, after)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_20_reloads_under_load_give_their_memory_back(tmp_path: Path) -> None:
    models = {v: save(tmp_path / f"made-{v}", v, ballast_mib=32) for v in (1, 2, 3)}
    base_path = tmp_path / "model"
    publish(models[1], base_path, "1")
    with serving(base_path, rest_api_port=0) as (server, _):
        load = Load(server, 1)
        try:
            for number in range(2, 5):
                reload_once(load, models, base_path, number)
            wait_until(lambda: only_one_is_loaded(server))
            before = used()["mib"]
            for number in range(5, 25):
                reload_once(load, models, base_path, number)
            wait_until(lambda: only_one_is_loaded(server))
            after = used()["mib"]
        finally:
            load.stop()
    assert load.asked >= 20
    assert after <= 1.1 * before, (before, after)


def only_one_is_loaded(server: Server) -> bool:
    client = Client(server.port)
    try:
        counts: list[Any] = [state for state in client.states().values() if state != State.END]
        return counts == [State.AVAILABLE]
    finally:
        client.channel.close()
