"""How a request that cannot be answered is refused: a gRPC code and one text for the client."""

import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from absl import logging as absl_logging

from serving.json_logs import log_event

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

# TF Serving cuts longer texts so. Source: tensorflow_serving/model_servers/grpc_status_util.cc.
_MAX_TEXT_LENGTH = 1024


class RequestError(Exception):
    """A request that is refused with `code` and, word for word, the exception's text."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        """Keeps both for the client."""
        super().__init__(text)
        self.code = code


def answering(
    handler: Callable[[RequestT], ResponseT],
) -> Callable[[RequestT, grpc.ServicerContext], ResponseT]:
    """Turns a function of the request into a gRPC handler.

    A `RequestError` reaches the client as it is. Anything else is a bug: the client gets INTERNAL
    and an id, under which the log has the rest.
    """

    def handle(request: RequestT, context: grpc.ServicerContext) -> ResponseT:
        try:
            if not context.is_active():
                # It waited for a worker until its deadline, or its client is gone.
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return handler(request)
        except Exception as error:
            code, text = refusal_of(error, handler.__qualname__)
        context.abort(code, text)
        raise AssertionError("context.abort returned")

    return handle


def refusal_of(error: Exception, where: str) -> tuple[grpc.StatusCode, str]:
    """What a client gets for an exception of a handler: a bug's own text is in the log only."""
    if isinstance(error, RequestError):
        code, text = error.code, str(error)
        log_event(logging.INFO, "refused", where=where, code=code.name)
        log_event(logging.DEBUG, "refused", where=where, code=code.name, text=text)
    else:
        error_id = uuid.uuid4().hex[:12]
        absl_logging.error("error %s in %s", error_id, where, exc_info=error)
        code, text = grpc.StatusCode.INTERNAL, f"internal error {error_id}"
    if len(text) > _MAX_TEXT_LENGTH:
        text = text[:_MAX_TEXT_LENGTH] + "...TRUNCATED"
    return code, text


def unary_handler(
    handler: Callable[[RequestT], ResponseT], request_type: Any, response_type: Any
) -> grpc.RpcMethodHandler:
    """The gRPC method that answers `request_type` messages with what `handler` returns."""
    return grpc.unary_unary_rpc_method_handler(
        answering(handler),
        request_deserializer=request_type.FromString,
        response_serializer=response_type.SerializeToString,
    )
