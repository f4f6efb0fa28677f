"""When the thread that receives works itself: only where calls come one at a time and are short."""

import itertools
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving import lone_calls
from serving.grpc_server import Server, serve
from serving.lone_calls import LoneCalls
from tests.tiny_server import (
    PREDICT,
    TIMEOUT_S,
    Client,
    Held,
    ask,
    options_of,
    predict_request,
    publish,
    serving,
)
from tests.waiting import wait_until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A second passes from one look to the next."""
    clock = itertools.count(1.0)
    monkeypatch.setattr(lone_calls.time, "perf_counter", lambda: next(clock))
    return clock


def _after(calls: int) -> LoneCalls:
    found = LoneCalls()
    for _ in range(calls):
        found.on_call(0)
        found.on_message(500)
        found.on_done(0.0005)
    return found


@pytest.mark.usefixtures("clock")
def test_likely_only_after_many() -> None:
    assert [_after(n).are_likely for n in (0, 1, 31, 32, 500)] == [False] * 3 + [True] * 2


@pytest.mark.usefixtures("clock")
def test_now_and_then_another_changes_nothing_and_several_do() -> None:
    found = _after(500)
    for _ in range(20):
        found.on_call(1)
        assert found.are_likely
        for _ in range(16):
            found.on_call(0)
    for _ in range(3):
        found.on_call(1)
    assert not found.are_likely


@pytest.mark.usefixtures("clock")
def test_what_takes_a_little_longer_changes_nothing_now_and_then() -> None:
    found = _after(500)
    found.on_done(0.004)
    assert found.are_likely
    for _ in range(2):
        found.on_done(0.004)
    assert not found.are_likely


@pytest.mark.usefixtures("clock")
def test_the_more_long_ones_the_more_short_ones_are_needed() -> None:
    found = _after(500)

    def needed() -> int:
        return next(n for n in itertools.count() if _is_likely_after_another(found))

    for expected in (64, 128, 256):
        found.on_done(0.1)
        assert needed() + 1 == expected
    for _ in range(256):
        found.on_call(0)
    found.on_done(0.1)
    assert needed() + 1 == 256  # not 512: half as many were needed after so many short ones


def _is_likely_after_another(found: LoneCalls) -> bool:
    found.on_call(0)
    return found.are_likely


@pytest.mark.usefixtures("clock")
def test_large_ones_are_not_short() -> None:
    large = _after(500)
    large.on_message(1_000_000)
    assert not large.are_likely


def test_a_call_that_had_to_wait_was_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _after(500)
    monkeypatch.setattr(lone_calls.time, "perf_counter", lambda: 7.0)
    found.on_done(0.0005)
    for _ in range(3):
        found.on_call(0)
    assert not found.are_likely


def _lone(server: Server, client: Client) -> None:
    """Asks until the server takes it that the next call will be alone."""
    assert server._predict is not None
    for _ in range(5_000):
        if server._predict.lone_calls.are_likely:
            return
        client.predict(predict_request())
    pytest.fail("calls that were alone were not seen to be")


@contextmanager
def _in_a_lone_run(server: Server, client: Client) -> Iterator[list[futures.Future[Any]]]:
    """While a call that was alone is worked on, which goes on to the end of the block.

    Yields:
        Calls that are to be answered then, within the block or after it; that one first.
    """
    _lone(server, client)
    held = Held()
    with pytest.MonkeyPatch.context() as patch, futures.ThreadPoolExecutor(1) as pool:
        patch.setattr("serving.batching.outcome_of", held)
        calls = [pool.submit(client.predict, predict_request())]
        try:
            assert held.entered.wait(TIMEOUT_S)
            yield calls
        finally:
            held.released.set()
        for call in calls:
            assert call.result(timeout=TIMEOUT_S).model_spec.version.value == 1


def test_what_comes_while_a_lone_call_is_worked_on_is_answered_after_it(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    with (
        serving(tmp_path, num_batch_threads=2) as (server, client),
        futures.ThreadPoolExecutor(3) as pool,
        _in_a_lone_run(server, client) as calls,
    ):
        calls += [pool.submit(client.predict, predict_request()) for _ in range(3)]
        with pytest.raises(futures.TimeoutError):
            calls[1].result(timeout=0.2)
        assert server.waiting == 0  # Not received: the thread that receives is in the run.


def test_who_runs_what_others_left_looks_again(
    tiny_models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    options = {"num_batch_threads": 1, "rest_api_port": 0}
    with serving(tmp_path, **options) as (server, client), futures.ThreadPoolExecutor(2) as pool:
        _lone(server, client)
        assert server._batcher is not None and server._predict is not None
        # Or the thread of the last of these finds the first of what is left, when it looks again.
        wait_until(lambda: server._predict._active == 0)
        time.sleep(0.1)
        # REST's own threads come too late for all of it.
        monkeypatch.setattr(server._batcher._pool, "submit", lambda run: None)
        left = []
        for history in (["a"], ["a", "b"]):
            row = {"age": [10], "history": [history], "user_id": ["u2"]}
            left.append(pool.submit(ask, server, "POST", PREDICT, {"inputs": row}))
        wait_until(lambda: server.waiting == 2)
        request = predict_request({"user_id": [b"u1"]}, signature="embed_user")
        assert client.predict(request).model_spec.version.value == 1
        assert [one.result(timeout=TIMEOUT_S)[0] for one in left] == [200, 200]


def test_a_stop_lets_finish_what_came_while_a_lone_call_is_worked_on(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    server = serve(options_of(tmp_path, num_batch_threads=1))
    client = Client(server.port)
    with futures.ThreadPoolExecutor(8) as pool:
        with _in_a_lone_run(server, client) as calls:
            calls += [pool.submit(client.predict, predict_request()) for _ in range(7)]
            time.sleep(0.3)  # They are sent; of what it has not received the server tells nobody.
            stopping = pool.submit(server.stop)
            time.sleep(0.1)
        stopping.result(timeout=TIMEOUT_S)
    client.channel.close()


def test_where_runs_wait_for_rows_others_are_received_meanwhile(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    publish(tiny_models[1], tmp_path, "1")
    options = {"num_batch_threads": 1, "batch_timeout_ms": 0.01}
    with (
        serving(tmp_path, **options) as (server, client),
        futures.ThreadPoolExecutor(1) as pool,
        _in_a_lone_run(server, client) as calls,
    ):
        calls.append(pool.submit(client.predict, predict_request()))
        wait_until(lambda: server.waiting == 1)
