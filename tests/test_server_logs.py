"""JSON lines: what they say of versions and refusals, and that they never name a user."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.json_logs import log_as_json, log_event
from tests.tiny_server import PREDICT, ROW, ask, predict_request, save, serving

SECRET = "u-private"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as JSON, with the logging of the process put back afterwards."""
    loggers = [logging.root, logging.getLogger("streamrec.serving"), logging.getLogger("absl")]
    before = [logger.level for logger in loggers], list(logging.root.handlers)
    stream = io.StringIO()
    log_as_json(stream)
    try:
        yield stream
    finally:
        for logger, level in zip(loggers, before[0], strict=True):
            logger.setLevel(level)
        logging.root.handlers[:] = before[1]


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_have_time_level_and_fields(lines: io.StringIO) -> None:
    log_event(logging.INFO, "version", version=7, state="LOADING")
    log_event(logging.DEBUG, "unseen")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("absl").exception("failed for %s", "ü")
    first, second = read(lines)
    assert first.pop("time").endswith("Z")
    assert first == {"level": "info", "event": "version", "version": 7, "state": "LOADING"}
    assert (second["level"], second["event"]) == ("error", "failed for ü")
    assert second["exception"].endswith("ValueError: two\nlines")


def test_refusals_are_logged_without_what_the_client_sent(
    lines: io.StringIO, tmp_path: Path
) -> None:
    save(tmp_path / "1", 1)
    with serving(tmp_path, rest_api_port=0) as (server, client):
        client.predict(predict_request({"user_id": [SECRET.encode()]}, signature="embed_user"))
        assert ask(server, "POST", PREDICT, {"instances": [{**ROW, "user_id": SECRET}]})[0] == 200
        status, answer = ask(server, "POST", PREDICT, {"instances": [{"user_id": SECRET}]})
        assert status == 400 and SECRET in answer["error"]
        with pytest.raises(grpc.RpcError):
            client.predict(predict_request({SECRET: [b"x"]}, signature="embed_user"))
    refused = [line for line in read(lines) if line["event"] == "refused"]
    assert [(line["where"], line["code"]) for line in refused] == [
        ("RestApi.answer", "INVALID_ARGUMENT"),
        ("PredictionService.predict", "INVALID_ARGUMENT"),
    ]
    assert SECRET not in lines.getvalue()
