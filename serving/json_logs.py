"""Logs as JSON lines, one object an event, for whatever collects them.

At info and above nothing of a request but its protocol, its code and how long it took is logged:
texts of refusals quote inputs, and inputs are users' ids and histories. Those texts are at debug.
"""

import json
import logging
import sys
import time
from typing import Any, TextIO

_LOGGER = logging.getLogger("streamrec.serving")
_FIELDS = "streamrec_fields"


def log_event(level: int, event: str, **fields: Any) -> None:
    """Logs what happened and, by name, what of it matters; values are what JSON can hold."""
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, event, extra={_FIELDS: fields})


class JsonFormatter(logging.Formatter):
    """A record as one line: `time` (UTC, ISO 8601), `level`, `event`, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json(stream: TextIO | None = None, *, level: int = logging.INFO) -> logging.Handler:
    """Makes JSON lines of everything that Python code logs in this process.

    TensorFlow's and gRPC's C++ write lines of their own to stderr.

    Args:
        stream: where to; stderr without it.
        level: the least severe that is written.

    Returns:
        The only handler of the root logger.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.root.handlers[:] = [handler]
    for logger in (logging.root, _LOGGER, logging.getLogger("absl")):
        logger.setLevel(level)
    return handler
