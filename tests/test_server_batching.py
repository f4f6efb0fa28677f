"""Concurrent requests run together: the answers of each alone, and no one's fault on another."""

import dataclasses
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.batching import Batcher, Run, Work
from serving.saved_model import SavedModel, Signature
from tests.tiny_server import TIMEOUT_S, ask, predict_request, save, serving
from tests.waiting import wait_until

PATIENT_S = 10.0  # Only a full batch ends the wait before this.


def double(refuse: float | None = None, log: list[int] | None = None) -> Signature:
    """Doubles a column; refuses a batch that holds a value."""

    def run(x: np.ndarray) -> list[np.ndarray]:
        if log is not None:
            log.append(len(x))
        if refuse is not None and refuse in x:
            raise tf.errors.InvalidArgumentError(None, None, f"found {refuse}")
        return [2 * x]

    return Signature(
        input_names=("x",),
        input_dtypes=(1,),
        feed_names=("x:0",),
        defaults={},
        output_names=("y",),
        output_dtypes=(1,),
        run=run,
    )


class Asked:
    """Requests of a signature, and what they came to."""

    def __init__(self, batcher: Batcher, signature: Signature, *inputs: Any) -> None:
        self.answers: list[Any] = [None] * len(inputs)
        for place, x in enumerate(inputs):
            batcher.submit(
                Work(
                    signature=signature,
                    arrays=[np.array(x)],
                    done=lambda outcome, place=place: self.answers.__setitem__(place, outcome),
                )
            )

    def lists(self) -> list[list[Any]]:
        return [answer[0].tolist() for answer in self.answers]


def batcher_of(
    max_rows: int, *, runs: int = 1, timeout_s: float = 0.0
) -> tuple[Batcher, list[Run]]:
    made: list[Run] = []
    return Batcher(max_rows=max_rows, timeout_s=timeout_s, runs=runs, on_run=made.append), made


def test_what_waits_is_one_run_and_each_gets_its_rows() -> None:
    runs: list[int] = []
    batcher, made = batcher_of(6)
    asked = Asked(batcher, double(log=runs), [1.0], [2.0, 3.0], [4.0, 5.0, 6.0])
    assert batcher.waiting() == 3
    assert batcher.run_some() and not batcher.run_some()
    assert asked.lists() == [[2.0], [4.0, 6.0], [8.0, 10.0, 12.0]]
    assert runs == [run.rows for run in made] == [6]


def test_a_run_has_no_more_rows_than_it_may_and_large_requests_run_alone() -> None:
    runs: list[int] = []
    batcher, _ = batcher_of(4)
    asked = Asked(batcher, double(log=runs), [1.0] * 3, [2.0] * 2, [3.0] * 5, [4.0])
    while batcher.run_some():
        pass
    assert [len(answer) for answer in asked.lists()] == [3, 2, 5, 1]
    assert sorted(runs) == [3, 3, 5]


def test_with_batches_of_one_each_runs_alone() -> None:
    runs: list[int] = []
    batcher, _ = batcher_of(1)
    asked = Asked(batcher, double(log=runs), [1.0], [2.0])
    while batcher.run_some():
        pass
    assert asked.lists() == [[2.0], [4.0]]
    assert runs == [1, 1]


def test_a_refused_request_does_not_spoil_the_others() -> None:
    batcher, _ = batcher_of(8)
    asked = Asked(batcher, double(refuse=13.0), [1.0], [13.0], [2.0])
    batcher.run_some()
    assert [asked.answers[i][0].tolist() for i in (0, 2)] == [[2.0], [4.0]]
    assert isinstance(asked.answers[1], tf.errors.InvalidArgumentError)


def test_other_shapes_do_not_meet_and_no_shape_is_kept_waiting_by_another() -> None:
    runs: list[int] = []
    batcher, _ = batcher_of(2)
    asked = Asked(batcher, double(log=runs), [[1.0]], [[2.0]], [[3.0]], [[4.0, 5.0]])
    batcher.run_some()
    batcher.run_some()
    assert asked.answers[2] is None and asked.answers[3][0].tolist() == [[8.0, 10.0]]
    batcher.run_some()
    assert asked.lists() == [[[2.0]], [[4.0]], [[6.0]], [[8.0, 10.0]]]
    assert runs == [2, 1, 1]


def test_a_request_that_nobody_waits_for_is_not_run() -> None:
    runs: list[int] = []
    batcher, _ = batcher_of(8)
    outcomes: list[Any] = []
    signature = double(log=runs)
    for is_wanted in (True, False):
        batcher.submit(
            Work(
                signature=signature,
                arrays=[np.array([1.0])],
                done=outcomes.append,
                is_wanted=lambda is_wanted=is_wanted: is_wanted,
            )
        )
    batcher.run_some()
    assert runs == [1]
    assert outcomes[0] is None and outcomes[1][0].tolist() == [2.0]


def test_a_bug_in_a_run_reaches_every_request_and_the_place_is_free_again() -> None:
    def broken(x: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("bug")

    signature = dataclasses.replace(double(), run=broken)
    batcher, _ = batcher_of(2)
    asked = Asked(batcher, signature, [1.0], [2.0])
    assert batcher.run_some()
    assert [str(answer) for answer in asked.answers] == ["bug", "bug"]
    again = Asked(batcher, double(), [1.0])
    assert batcher.run_some()
    assert again.lists() == [[2.0]]


def test_no_more_runs_at_a_time_than_there_are_places_and_what_waited_is_one_batch() -> None:
    entered, release = threading.Event(), threading.Event()
    sizes: list[int] = []

    def slow(x: np.ndarray) -> list[np.ndarray]:
        sizes.append(len(x))
        entered.set()
        assert release.wait(TIMEOUT_S)
        return [x]

    signature = dataclasses.replace(double(), run=slow)
    batcher, _ = batcher_of(8)
    first = Asked(batcher, signature, [1.0])
    with futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(batcher.run_some)
        assert entered.wait(TIMEOUT_S)
        rest = Asked(batcher, signature, [2.0], [3.0], [4.0])
        assert not batcher.run_some()
        assert rest.answers == [None] * 3
        release.set()
        assert running.result(TIMEOUT_S)
    assert first.lists() == [[1.0]]
    assert batcher.run_some()
    assert rest.lists() == [[2.0], [3.0], [4.0]]
    assert sizes == [1, 3]


def test_with_a_timeout_a_place_waits_for_more_rows() -> None:
    runs: list[int] = []
    batcher, made = batcher_of(2, timeout_s=PATIENT_S)
    signature = double(log=runs)
    first = Asked(batcher, signature, [1.0])
    with futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(batcher.run_some)
        second = Asked(batcher, signature, [2.0])
        assert running.result(TIMEOUT_S)
    assert (first.lists(), second.lists(), runs) == ([[2.0]], [[4.0]], [2])
    assert made[0].waited_s < PATIENT_S
    impatient, made = batcher_of(2, timeout_s=0.01)
    alone = Asked(impatient, signature, [3.0])
    assert impatient.run_some()
    assert alone.lists() == [[6.0]] and made[0].waited_s >= 0.01


def test_run_answers_from_threads_of_its_own() -> None:
    batcher, _ = batcher_of(4, runs=2)
    signature = double()
    answered: futures.Future[Any] = futures.Future()
    batcher.run(Work(signature=signature, arrays=[np.array([1.0])], done=answered.set_result))
    assert answered.result(TIMEOUT_S)[0].tolist() == [2.0]
    batcher.close()


def test_the_server_answers_in_batches_as_it_does_without(tmp_path: Path) -> None:
    directory = save(tmp_path / "model" / "1", 1)
    model = SavedModel(directory)
    alone = model.signatures["serving_default"].run
    expected = {
        age: alone(np.array([age]), np.array([[b"u1"]], object), np.array([b"u2"], object))[1]
        for age in range(8)
    }
    model.close()
    together = threading.Barrier(8)
    # Each run waits for the others: they are certain to meet.
    options = {"max_batch_size": 8, "batch_timeout_ms": 1000.0, "num_batch_threads": 1}
    with serving(tmp_path / "model", rest_api_port=0, **options) as (server, client):

        def predict(age: int) -> list[float]:
            inputs = {"age": np.array([age]), "history": [[b"u1"]], "user_id": [b"u2"]}
            together.wait(TIMEOUT_S)
            return list(client.predict(predict_request(inputs)).outputs["score"].float_val)

        with futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(predict, range(8)))

        def page() -> str:
            return str(ask(server, "GET", "/monitoring/prometheus/metrics")[1])

        # A run is counted just after its clients have their answers.
        wait_until(lambda: "streamrec_batch_rows_sum 8.0\n" in page())
        runs = float(page().split("streamrec_batch_rows_count ")[1].split("\n")[0])
        bad = predict_request({"age": np.array([1]), "history": [b"a"], "user_id": [b"u"]})
        with pytest.raises(grpc.RpcError) as error:
            client.predict(bad)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert answers == [expected[age][0].tolist() for age in range(8)]
    assert runs < 8
