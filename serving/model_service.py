"""`tensorflow.serving.ModelService`: GetModelStatus and, if enabled, reloading, of one model."""

from pathlib import Path
from typing import Any

import grpc
from absl import logging
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from configs.errors import UserError
from serving.model_spec import model_spec_of, requested_version
from serving.request_errors import RequestError, unary_handler
from serving.saved_model import SavedModel
from serving.versions import VersionWatcher

MODEL_SERVICE = "tensorflow.serving.ModelService"


class ModelService:
    """Reports every version that was ever tried since the server started.

    Without `can_reload`, a client gets UNIMPLEMENTED for HandleReloadConfigRequest.
    """

    def __init__(
        self, model_name: str, versions: VersionWatcher[SavedModel], *, can_reload: bool
    ) -> None:
        """Reports on `versions` under `model_name`."""
        self._model_name = model_name
        self._versions = versions
        self._can_reload = can_reload

    def rpc_handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods, for `grpc.Server.add_generic_rpc_handlers`."""
        handlers = {
            "GetModelStatus": unary_handler(
                self.get_model_status,
                get_model_status_pb2.GetModelStatusRequest,
                get_model_status_pb2.GetModelStatusResponse,
            )
        }
        if self._can_reload:
            handlers["HandleReloadConfigRequest"] = unary_handler(
                self.reload_config,
                model_management_pb2.ReloadConfigRequest,
                model_management_pb2.ReloadConfigResponse,
            )
        return grpc.method_handlers_generic_handler(MODEL_SERVICE, handlers)

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """Goes over to the base path and version of the one model of the request's list.

        Returns once it serves from there.

        Raises:
            RequestError: INVALID_ARGUMENT for what this server cannot be; FAILED_PRECONDITION where
                there is nothing that can be served, and what serves goes on.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise _invalid("only a model_config_list can be reloaded")
        configs = request.config.model_config_list.config
        names = [config.name for config in configs]
        if names != [self._model_name]:
            raise _invalid(
                f"model_config_list: found models {names}, this server has {self._model_name} alone"
            )
        (config,) = configs
        if config.model_platform not in ("", "tensorflow"):
            raise _invalid(f"model_platform: found {config.model_platform}, expected tensorflow")
        if config.version_labels:
            raise _invalid("version_labels are not offered")
        if not Path(config.base_path).is_absolute():
            raise _invalid(f"base_path: found {config.base_path!r}, expected an absolute path")
        only = _version_of(config.model_version_policy)
        try:
            self._versions.follow(Path(config.base_path), only=only)
        except (UserError, OSError) as error:
            raise RequestError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error
        logging.info("serving from %s by request", config.base_path)
        return model_management_pb2.ReloadConfigResponse()

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


def _version_of(policy: Any) -> int | None:
    """The version that a policy pins; None for the newest."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific" and len(policy.specific.versions) == 1:
        return int(policy.specific.versions[0])
    if choice is None or (choice == "latest" and policy.latest.num_versions <= 1):
        return None
    raise _invalid("model_version_policy: this server serves one version, the latest or a specific")


def _invalid(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
