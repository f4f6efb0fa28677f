"""`tensorflow.serving.PredictionService`: Predict and GetModelMetadata of one model."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
)

from serving.batching import Batcher
from serving.json_tensor import answer_of, fill_inputs, parse_body, signature_name_of
from serving.limits import Limits
from serving.metrics import Metrics
from serving.model_spec import model_spec_of, requested_version
from serving.predict import DEFAULT_SIGNATURE_NAME, predict
from serving.request_errors import RequestError, unary_handler
from serving.saved_model import SavedModel
from serving.versions import NotServingError, VersionWatcher

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
_SIGNATURE_DEF = "signature_def"


class PredictionService:
    """Answers from the version that serves.

    Classify, Regress and MultiInference are not offered: a client gets UNIMPLEMENTED.
    """

    def __init__(
        self,
        model_name: str,
        versions: VersionWatcher[SavedModel],
        metrics: Metrics,
        *,
        limits: Limits,
        batcher: Batcher | None,
    ) -> None:
        """Answers for `model_name` from `versions`, within `limits`, and counts in `metrics`.

        With a `batcher` concurrent requests are run together.
        """
        self._model_name = model_name
        self._versions = versions
        self._metrics = metrics
        self._limits = limits
        self._batcher = batcher

    def rpc_handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods, for `grpc.Server.add_generic_rpc_handlers`."""
        return grpc.method_handlers_generic_handler(
            PREDICTION_SERVICE,
            {
                "Predict": unary_handler(
                    self.predict, predict_pb2.PredictRequest, predict_pb2.PredictResponse
                ),
                "GetModelMetadata": unary_handler(
                    self.get_model_metadata,
                    get_model_metadata_pb2.GetModelMetadataRequest,
                    get_model_metadata_pb2.GetModelMetadataResponse,
                ),
            },
        )

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs a signature.

        Raises:
            RequestError: with TF Serving's code and text.
        """
        return self._predict(request, "GRPC")

    def predict_json(self, spec: model_pb2.ModelSpec, body: bytes) -> dict[str, Any]:
        """Runs a signature on a REST request's JSON.

        Args:
            spec: model and version of the path.
            body: names the signature and has the inputs, as rows or columns.

        Returns:
            The answer in the same form.

        Raises:
            RequestError: with TF Serving's code and text.
        """
        document = parse_body(body)
        request = predict_pb2.PredictRequest(model_spec=spec)
        request.model_spec.signature_name = signature_name_of(document)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE_NAME
        with self._lease(spec) as (_, model):
            if name not in model.signatures:
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f'Serving signature name: "{name}" not found in signature def',
                )
            infos = model.signature_defs[name].inputs
        as_rows = fill_inputs(document, infos, request)
        return answer_of(self._predict(request, "REST"), as_rows=as_rows)

    def _predict(
        self, request: predict_pb2.PredictRequest, entrypoint: str
    ) -> predict_pb2.PredictResponse:
        started_at = time.perf_counter()
        with self._metrics.predict(entrypoint):
            with self._lease(model_spec_of(request)) as (version, model):
                response = predict(model, request, limits=self._limits, batcher=self._batcher)
            response.model_spec.name = self._model_name
            response.model_spec.version.value = version
        first = next(iter(response.outputs.values()), None)
        rows = first.tensor_shape.dim[0].size if first and first.tensor_shape.dim else 1
        self._metrics.answered(
            response.model_spec.signature_name,
            rows=rows,
            elapsed_s=time.perf_counter() - started_at,
        )
        return response

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures, as the SavedModel declares them.

        Raises:
            RequestError: with TF Serving's code and text.
        """
        spec = model_spec_of(request)
        if not request.metadata_field:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported"
                )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._lease(spec) as (version, model):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
        response.model_spec.name = self._model_name
        response.model_spec.version.value = version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    @contextmanager
    def _lease(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[int, SavedModel]]:
        """The version that `spec` asks for, and its number first."""
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        version = requested_version(spec)
        if spec.name != self._model_name:
            raise _servable_not_found(spec.name, version)
        try:
            with self._versions.lease(version) as leased:
                yield leased
        except NotServingError as error:
            raise _servable_not_found(spec.name, version) from error


def _servable_not_found(model_name: str, version: int | None) -> RequestError:
    wanted = f"Latest({model_name})" if version is None else f"Specific({model_name}, {version})"
    return RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
