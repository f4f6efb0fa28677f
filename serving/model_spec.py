"""Which model and version a request is about."""

from typing import Any

import grpc
from tensorflow_serving.apis import model_pb2

from serving.request_errors import RequestError


def model_spec_of(request: Any) -> model_pb2.ModelSpec:
    """The model_spec of a Predict, GetModelMetadata or GetModelStatus request.

    Raises:
        RequestError: it has none.
    """
    if not request.HasField("model_spec"):
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    return request.model_spec


def requested_version(spec: model_pb2.ModelSpec) -> int | None:
    """The version that `spec` names, or None where it leaves the choice to the server.

    Raises:
        RequestError: it names a label; labels are not configured here.
    """
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Unrecognized servable version label: {spec.version_label}",
        )
    return spec.version.value if choice == "version" else None
