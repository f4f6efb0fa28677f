"""A client of a model's gRPC server. It needs neither the trainer nor ScaNN."""

from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from configs.errors import UserError
from serving.requests import Request
from serving.signatures import DATASET, FINGERPRINT, FINGERPRINTS


class Client:
    """Asks one model on one server."""

    def __init__(
        self,
        server: str,
        model_name: str,
        *,
        timeout_s: float,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Does not connect yet.

        Args:
            server: host and port.
            model_name: what the server calls the model.
            timeout_s: seconds to wait for an answer.
            credentials: of TLS; None: no TLS.
        """
        self.server, self.model_name, self.timeout_s = server, model_name, timeout_s
        self.channel = (
            grpc.secure_channel(server, credentials)
            if credentials
            else grpc.insecure_channel(server)
        )
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def predict(
        self, inputs: Request, *, signature: str = "serving_default"
    ) -> tuple[dict[str, np.ndarray], int]:
        """Sends one Predict.

        Args:
            inputs: arrays by input name.
            signature: which one to ask.

        Returns:
            Arrays by output name, and the version that answered.

        Raises:
            UserError: the server cannot be reached, does not serve the model, or refuses.
        """
        try:
            return self._predict(inputs, signature)
        except grpc.RpcError as error:
            raise UserError(self._explain(error)) from None

    def fingerprints(self) -> dict[str, str] | None:
        """Those of the dataset that the model was made of, by name; None if it does not say.

        Raises:
            UserError: as `predict`.
        """
        asked = {"name": np.array([name.encode() for name in FINGERPRINTS], object)}
        try:
            outputs, _ = self._predict(asked, DATASET)
        except grpc.RpcError as error:
            # How TF Serving says that there is no such signature.
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                return None
            raise UserError(self._explain(error)) from None
        found = (value.decode() for value in outputs[FINGERPRINT])
        return dict(zip(FINGERPRINTS, found, strict=True))

    def _predict(self, inputs: Request, signature: str) -> tuple[dict[str, np.ndarray], int]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self.stub.Predict(request, timeout=self.timeout_s)
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def _explain(self, error: Any) -> str:
        code, details = error.code(), error.details()
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return f"--server={self.server}: no answer ({code.name}: {details})"
        if code is grpc.StatusCode.NOT_FOUND:
            return f"--model_name={self.model_name}: {self.server} does not serve it ({details})"
        return f"--server={self.server}: {code.name}: {details}"
