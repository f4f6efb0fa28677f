"""`tensorflow.serving.ModelService`: GetModelStatus of one model."""

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving.model_spec import model_spec_of, requested_version
from serving.request_errors import RequestError, unary_handler
from serving.saved_model import SavedModel
from serving.versions import VersionWatcher

MODEL_SERVICE = "tensorflow.serving.ModelService"


class ModelService:
    """Reports every version that was ever tried since the server started.

    HandleReloadConfigRequest is not offered: a client gets UNIMPLEMENTED.
    """

    def __init__(self, model_name: str, versions: VersionWatcher[SavedModel]) -> None:
        """Reports on `versions` under `model_name`."""
        self._model_name = model_name
        self._versions = versions

    def rpc_handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods, for `grpc.Server.add_generic_rpc_handlers`."""
        return grpc.method_handlers_generic_handler(
            MODEL_SERVICE,
            {
                "GetModelStatus": unary_handler(
                    self.get_model_status,
                    get_model_status_pb2.GetModelStatusRequest,
                    get_model_status_pb2.GetModelStatusResponse,
                )
            },
        )

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of one version, or of all, newest first.

        Raises:
            RequestError: with TF Serving's code and text.
        """
        spec = model_spec_of(request)
        wanted = requested_version(spec)
        statuses = self._versions.statuses() if spec.name == self._model_name else {}
        if wanted is not None:
            statuses = {version: s for version, s in statuses.items() if version == wanted}
        if not statuses:
            what = "any versions" if wanted is None else f"version {wanted}"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"Could not find {what} of model {spec.name}"
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in statuses.items():
            state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state.name)
            entry = response.model_version_status.add(version=version, state=state)
            entry.status.error_code = status.error_code
            entry.status.error_message = status.error_message
        return response
