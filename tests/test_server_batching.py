"""Concurrent requests run together: the answers of each alone, and no one's fault on another."""

import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tiny_server import TIMEOUT_S, ask, predict_request, save, serving

from serving.batching import Batcher
from serving.saved_model import SavedModel, Signature

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


def run_together(batcher: Batcher, signature: Signature, inputs: list[Any]) -> list[Any]:
    """Outputs or errors of concurrent requests."""
    with futures.ThreadPoolExecutor(len(inputs)) as pool:
        running = [pool.submit(batcher.run, signature, [np.array(x)]) for x in inputs]
        return [
            error if (error := each.exception(TIMEOUT_S)) else each.result()[0] for each in running
        ]


def test_a_full_batch_is_one_run_and_each_gets_its_rows() -> None:
    runs: list[int] = []
    batches: list[int] = []
    batcher = Batcher(
        max_rows=6, timeout_s=PATIENT_S, on_batch=lambda rows, waited_s: batches.append(rows)
    )
    answers = run_together(batcher, double(log=runs), [[1.0], [2.0, 3.0], [4.0, 5.0, 6.0]])
    assert [answer.tolist() for answer in answers] == [[2.0], [4.0, 6.0], [8.0, 10.0, 12.0]]
    assert runs == batches == [6]


def test_a_refused_request_does_not_spoil_the_others() -> None:
    batcher = Batcher(max_rows=3, timeout_s=PATIENT_S, on_batch=lambda rows, waited_s: None)
    answers = run_together(batcher, double(refuse=13.0), [[1.0], [13.0], [2.0]])
    assert answers[0].tolist() == [2.0] and answers[2].tolist() == [4.0]
    assert isinstance(answers[1], tf.errors.InvalidArgumentError)


def test_alone_it_waits_no_longer_than_the_timeout_and_other_shapes_do_not_meet() -> None:
    runs: list[int] = []
    batcher = Batcher(max_rows=2, timeout_s=0.01, on_batch=lambda rows, waited_s: None)
    answers = run_together(batcher, double(log=runs), [[[1.0]], [[2.0, 3.0]]])
    assert [answer.tolist() for answer in answers] == [[[2.0]], [[4.0, 6.0]]]
    assert runs == [1, 1]


def test_a_bug_in_a_run_reaches_every_member_and_nobody_waits_for_ever() -> None:
    def broken(x: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("bug")

    signature = Signature(
        input_names=("x",),
        input_dtypes=(1,),
        feed_names=("x:0",),
        defaults={},
        output_names=("y",),
        output_dtypes=(1,),
        run=broken,
    )
    batcher = Batcher(max_rows=2, timeout_s=PATIENT_S, on_batch=lambda rows, waited_s: None)
    answers = run_together(batcher, signature, [[1.0], [2.0]])
    assert [str(answer) for answer in answers] == ["bug", "bug"]


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
    options = {"batch_max_rows": 8, "batch_timeout_ms": 1000.0, "grpc_workers": 8}
    with serving(tmp_path / "model", rest_api_port=0, **options) as (server, client):

        def predict(age: int) -> list[float]:
            inputs = {"age": np.array([age]), "history": [[b"u1"]], "user_id": [b"u2"]}
            together.wait(TIMEOUT_S)
            return list(client.predict(predict_request(inputs)).outputs["score"].float_val)

        with futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(predict, range(8)))
        _, page = ask(server, "GET", "/monitoring/prometheus/metrics")
        bad = predict_request({"age": np.array([1]), "history": [b"a"], "user_id": [b"u"]})
        with pytest.raises(grpc.RpcError) as error:
            client.predict(bad)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert answers == [expected[age][0].tolist() for age in range(8)]
    assert "streamrec_batch_rows_sum 8.0\n" in page
    runs = float(page.split("streamrec_batch_rows_count ")[1].split("\n")[0])
    assert runs < 8
