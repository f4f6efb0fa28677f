"""TF Serving's REST API: what each method and path answers, without the socket.

Source: tensorflow_serving/model_servers/http_rest_api_util.cc (paths) and http_server.cc (codes).
"""

import json
import re
import urllib.parse
from typing import Any

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving.metrics import CONTENT_TYPE, Metrics
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.request_errors import RequestError, refusal_of
from serving.version_dirs import LARGEST_VERSION

_OF_MODEL = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(
    r"/v1/models/(?P<name>[^/:]+)" + _OF_MODEL + r":(?P<method>classify|regress|predict)", re.I
)
_GET = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?" + _OF_MODEL + r"(?:/(?P<metadata>metadata))?", re.I
)
_METRICS_PATH = "/monitoring/prometheus/metrics"
_JSON = "application/json"

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


class RestApi:
    """Answers REST requests from the services that answer gRPC."""

    def __init__(
        self, prediction: PredictionService, status: ModelService, metrics: Metrics
    ) -> None:
        """Adds nothing of its own to what the services know."""
        self._prediction = prediction
        self._status = status
        self._metrics = metrics

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        """HTTP status, content type and body for one request; raises nothing.

        Args:
            method: GET or POST.
            target: of the request line; a query string is ignored.
            body: of a POST.
        """
        path = target.partition("?")[0]
        if path == _METRICS_PATH and method == "GET":
            return 200, CONTENT_TYPE, self._metrics.page()
        if not path.lower().startswith("/v1/"):
            return 404, "text/plain", b""
        try:
            answer = self._post(path, body) if method == "POST" else self._get(path)
            return 200, _JSON, _dump(answer)
        except Exception as error:  # A bug must not end the connection without an answer.
            code, text = refusal_of(error, "RestApi.answer")
            return _HTTP_STATUS.get(code, 500), _JSON, _dump({"error": text})

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        matched = _POST.fullmatch(path)
        if not matched:
            raise _malformed("POST", path)
        if matched["method"].lower() != "predict":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED, f"{matched['method']} is not offered, only predict"
            )
        return self._prediction.predict_json(_spec(matched), body)

    def _get(self, path: str) -> dict[str, Any]:
        matched = _GET.fullmatch(path)
        if not matched:
            raise _malformed("GET", path)
        if not matched["name"]:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
        if matched["metadata"]:
            return self._metadata(_spec(matched))
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(matched))
        return _to_dict(self._status.get_model_status(request))

    def _metadata(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
        response = self._prediction.get_model_metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _to_dict(response.model_spec),
            "metadata": {"signature_def": _to_dict(signatures)},
        }


def _malformed(method: str, path: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {path}")


def _spec(matched: re.Match[str]) -> model_pb2.ModelSpec:
    """The model and version of a path."""
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(matched["name"]))
    if matched["version"]:
        # A number of 4,300 digits or more is a ValueError; none above 19 fits anyway.
        digits = matched["version"].lstrip("0") or "0"
        if len(digits) > 19 or int(digits) > LARGEST_VERSION:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Failed to convert version: {matched['version']} to numeric.",
            )
        spec.version.value = int(digits)
    if matched["label"]:
        spec.version_label = urllib.parse.unquote(matched["label"])
    return spec


def _to_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _dump(answer: dict[str, Any]) -> bytes:
    return (json.dumps(answer, indent=4, ensure_ascii=False) + "\n").encode("utf-8", "replace")
