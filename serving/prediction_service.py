"""`tensorflow.serving.PredictionService`: Predict and GetModelMetadata of one model."""

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
)

from serving.batching import Arrays, Batcher, Work
from serving.json_tensor import answer_of, fill_inputs, parse_body, signature_name_of
from serving.limits import Limits
from serving.metrics import Metrics
from serving.model_spec import model_spec_of, requested_version
from serving.predict import DEFAULT_SIGNATURE_NAME, PreparedPredict, as_refusal, prepare
from serving.request_errors import RequestError, refusal_of, unary_handler
from serving.saved_model import SavedModel
from serving.unary_method import UnaryCall
from serving.versions import Lease, NotServingError, VersionWatcher

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
PREDICT_METHOD = f"/{PREDICTION_SERVICE}/Predict"
_SIGNATURE_DEF = "signature_def"

_Outcome: TypeAlias = predict_pb2.PredictResponse | Exception


def _always() -> bool:
    return True


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
        batcher: Batcher,
    ) -> None:
        """Answers for `model_name` from `versions`, within `limits`, and counts in `metrics`.

        All runs are the `batcher`'s.
        """
        self._model_name = model_name
        self._versions = versions
        self._metrics = metrics
        self._limits = limits
        self._batcher = batcher

    def rpc_handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods but Predict, for `grpc.Server.add_generic_rpc_handlers`."""
        return grpc.method_handlers_generic_handler(
            PREDICTION_SERVICE,
            {
                "GetModelMetadata": unary_handler(
                    self.get_model_metadata,
                    get_model_metadata_pb2.GetModelMetadataRequest,
                    get_model_metadata_pb2.GetModelMetadataResponse,
                ),
            },
        )

    def predict(self, message: bytes, call: UnaryCall) -> None:
        """Predict over gRPC: answers the call, now or when the graph has run, and raises nothing.

        Args:
            message: a PredictRequest.
            call: refused with TF Serving's code and text where it cannot be answered.
        """

        def finish(outcome: _Outcome) -> None:
            if isinstance(outcome, Exception):
                call.refuse(*refusal_of(outcome, "PredictionService.predict"))
            else:
                call.answer(outcome.SerializeToString())

        try:
            request = predict_pb2.PredictRequest.FromString(message)
        except DecodeError:
            call.refuse(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
            return
        self._begin(request, "GRPC", self._batcher.submit, finish, is_wanted=lambda: call.is_wanted)

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
        lease = self._acquire(spec)
        try:
            if name not in lease.servable.signatures:
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f'Serving signature name: "{name}" not found in signature def',
                )
            infos = lease.servable.signature_defs[name].inputs
        finally:
            lease.release()
        as_rows = fill_inputs(document, infos, request)
        answered: futures.Future[_Outcome] = futures.Future()
        self._begin(request, "REST", self._batcher.run, answered.set_result)
        outcome = answered.result()
        if isinstance(outcome, Exception):
            raise outcome
        return answer_of(outcome, as_rows=as_rows)

    def _begin(
        self,
        request: predict_pb2.PredictRequest,
        entrypoint: str,
        submit: Callable[[Work], None],
        finish: Callable[[_Outcome], None],
        *,
        is_wanted: Callable[[], bool] = _always,
    ) -> None:
        """Checks a request and submits it; `finish` is called, now or later, with what it comes to.

        Args:
            request: what is asked.
            entrypoint: GRPC or REST.
            submit: to the batcher.
            finish: takes the response, or the exception, a `RequestError` or a bug.
            is_wanted: asked before the run.
        """
        started_at = time.perf_counter()
        self._metrics.begun()

        def end(outcome: _Outcome, signature: str = "", rows: int | None = None) -> None:
            elapsed_s = time.perf_counter() - started_at
            finish(outcome)  # First: the client need not wait for the count.
            self._metrics.ended(
                entrypoint,
                outcome if isinstance(outcome, Exception) else None,
                signature=signature,
                rows=1 if rows is None else rows,
                elapsed_s=elapsed_s,
            )

        try:
            lease = self._acquire(model_spec_of(request))
        except Exception as error:
            end(error)
            return
        try:
            prepared = prepare(lease.servable, request, self._limits)
        except Exception as error:
            lease.release()
            end(error)
            return

        def done(outputs: Arrays | Exception | None) -> None:
            lease.release()
            end(self._outcome(prepared, lease.version, outputs), prepared.signature_name, work.rows)

        work = Work(
            signature=prepared.signature, arrays=prepared.arrays, done=done, is_wanted=is_wanted
        )
        submit(work)

    def _outcome(
        self, prepared: PreparedPredict, version: int, outputs: Arrays | Exception | None
    ) -> _Outcome:
        if outputs is None:
            return RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if isinstance(outputs, Exception):
            return as_refusal(outputs)
        try:
            response = prepared.response(outputs)
        except Exception as error:
            return error
        response.model_spec.name = self._model_name
        response.model_spec.version.value = version
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
        lease = self._acquire(spec)
        try:
            definitions = lease.servable.signature_defs
        finally:
            lease.release()
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=definitions)
        response.model_spec.name = self._model_name
        response.model_spec.version.value = lease.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    def _acquire(self, spec: model_pb2.ModelSpec) -> Lease[SavedModel]:
        """The version that `spec` asks for.

        Raises:
            RequestError: there is none.
        """
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        version = requested_version(spec)
        if spec.name != self._model_name:
            raise _servable_not_found(spec.name, version)
        try:
            return self._versions.acquire(version)
        except NotServingError as error:
            raise _servable_not_found(spec.name, version) from error


def _servable_not_found(model_name: str, version: int | None) -> RequestError:
    wanted = f"Latest({model_name})" if version is None else f"Specific({model_name}, {version})"
    return RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
