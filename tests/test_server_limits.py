"""Requests that are too large, in both protocols."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.grpc_server import Server
from tests.tiny_server import (
    INVALID_ARGUMENT,
    PREDICT,
    Client,
    ask,
    predict_request,
    refusal,
    save,
    serving,
)

LIMITED = {
    "rows": (
        {"age": [1] * 4, "history": [["a"]] * 4, "user_id": ["u"] * 4},
        "input age has 4 rows, this server takes 3 at most (--max_batch)",
    ),
    "history": (
        {"age": [1], "history": [["a"] * 6], "user_id": ["u"]},
        "input history has 6 values in a row, this server takes 5 at most (--max_history_length)",
    ),
    "exclusions": (
        {"exclude_item_id": [["a"] * 3]},
        "input exclude_item_id has 3 values in a row, this server takes 2 at most"
        " (--max_exclusions)",
    ),
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Client]]:
    base_path = tmp_path_factory.mktemp("limited")
    save(base_path / "1", 1)
    options = {"max_batch": 3, "max_history_length": 5, "max_exclusions": 2}
    with serving(base_path, rest_api_port=0, **options) as running:
        yield running


def as_arrays(inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Integers as int64, which protos made of lists would not be."""
    return {name: np.array(value) for name, value in inputs.items()}


@pytest.mark.parametrize("case", LIMITED)
def test_a_request_over_a_limit_is_refused_in_both_protocols(
    limited: tuple[Server, Client], case: str
) -> None:
    server, client = limited
    inputs, text = LIMITED[case]
    signature = "excluding" if "exclude_item_id" in inputs else "serving_default"
    body = {"signature_name": signature, "inputs": inputs}
    assert ask(server, "POST", PREDICT, body) == (400, {"error": text})
    request = predict_request(as_arrays(inputs), signature=signature)
    assert refusal(client.predict, request) == (INVALID_ARGUMENT, text)
    within = {
        name: [v[:2] if isinstance(v, list) else v for v in rows[:3]]
        for name, rows in inputs.items()
    }
    assert ask(server, "POST", PREDICT, body | {"inputs": within})[0] == 200
    client.predict(predict_request(as_arrays(within), signature=signature))


def test_a_huge_shape_in_a_small_message_is_not_decoded(limited: tuple[Server, Client]) -> None:
    for sizes in ([2**40], [1, 2**40], [1, 5, 2**40]):
        huge = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"u"])
        for size in sizes:
            huge.tensor_shape.dim.add(size=size)
        request = predict_request({"user_id": huge}, signature="embed_user")
        code, text = refusal(limited[1].predict, request)
        assert code is INVALID_ARGUMENT
        assert text.startswith("input user_id has ")
