"""Versions that come and go under requests, and those that cannot be served."""

import os
import shutil
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc

from tests.tiny_server import (
    TIMEOUT_S,
    Client,
    State,
    predict_request,
    publish,
    serving,
    status_request,
    withdraw,
)
from tests.waiting import wait_until


def test_no_request_fails_while_versions_come_and_go(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    base_path = tmp_path / "model"
    publish(tiny_models[1], base_path, "1")
    published = {1}
    latest = [0] * 4
    done = threading.Event()

    def fire(index: int, port: int) -> list[int]:
        """Requests without a pause; the versions that answered."""
        mine = Client(port)
        answered = []
        while not done.is_set():
            response = mine.predict(predict_request())
            version = response.model_spec.version.value
            assert version in published
            # The graph that answered is the one that the response names.
            assert response.outputs["score"].float_val[2] == 12.0 + version
            answered.append(version)
            latest[index] = version
        mine.channel.close()
        return answered

    with serving(base_path) as (server, client), futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(fire, index, server.port) for index in range(4)]
        try:
            wait_until(lambda: latest == [1] * 4)
            for version, removed in ((2, 1), (3, 2)):
                published.add(version)
                publish(tiny_models[version], base_path, str(version))
                wait_until(lambda version=version: latest == [version] * 4)
                withdraw(base_path, str(removed))
                wait_until(lambda removed=removed: client.states()[removed] == State.END)
            # And back: the newest is removed, an older one takes its place.
            publish(tiny_models[1], base_path, "1")
            withdraw(base_path, "3")
            wait_until(lambda: client.states()[3] == State.END)
            wait_until(lambda: latest == [1] * 4)
        finally:
            done.set()
        answered = [client.result(timeout=TIMEOUT_S) for client in clients]
        assert client.states() == {3: State.END, 2: State.END, 1: State.AVAILABLE}
    for versions in answered:
        changes = [v for i, v in enumerate(versions) if i == 0 or v != versions[i - 1]]
        assert changes == [1, 2, 3, 1]


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def rename_an_op(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes().replace(b"LookupTableFindV2", b"LookupTableFindX9"))


BROKEN: dict[str, Callable[[Path], object]] = {
    "8": lambda at: shutil.rmtree(at / "variables"),
    "7": lambda at: cut_in_half(at / "variables" / "variables.data-00000-of-00001"),
    "6": lambda at: (at / "variables" / "variables.index").unlink(),
    "5": lambda at: (at / "saved_model.pb").write_bytes(b"\xff" * 99),
    "4": lambda at: rename_an_op(at / "saved_model.pb"),
}


def test_broken_versions_are_reported_and_the_old_one_serves_on(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with serving(tmp_path) as (server, client):
        (tmp_path / "9").mkdir()
        for name, damage in BROKEN.items():
            staging = Path(shutil.copytree(tiny_models[2], tmp_path / f".{name}"))
            damage(staging)
            staging.rename(tmp_path / name)
        expected = {7: State.END, 6: State.END, 5: State.END, 4: State.END, 1: State.AVAILABLE}
        wait_until(lambda: client.states() == expected)
        for status in client.status(status_request()).model_version_status[:-1]:
            assert status.status.error_code != 0
            assert status.status.error_message
        (no_such_op,) = client.status(status_request(4)).model_version_status
        assert no_such_op.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert "LookupTableFindX9" in no_such_op.status.error_message
        assert client.predict(predict_request()).model_spec.version.value == 1
        publish(tiny_models[3], tmp_path, "10")
        wait_until(lambda: server.version == 10)
        assert client.predict(predict_request()).model_spec.version.value == 10
