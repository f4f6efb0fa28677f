"""`python -m serving.query`: asks a running model what to show a user, and shows it."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from absl import flags
from rich.table import Table

from configs.cli import console, run_app
from configs.errors import UserError
from configs.schema import KINDS, Config
from configs.serialization import from_dict
from preprocessing import manifest as manifests
from preprocessing.features import FeatureSpec, spec_of
from serving.requests import (
    Request,
    UserStates,
    build_request,
    load_state,
    load_states,
    load_titles,
    longest_history,
)

_SERVER = flags.DEFINE_string("server", "localhost:8500", "Host and port of the gRPC server.")
_MODEL_NAME = flags.DEFINE_string("model_name", "retrieval", "Name that the model is served by.")
_DATASET = flags.DEFINE_string("dataset", None, "What preprocessing.run wrote.", required=True)
_USER_ID = flags.DEFINE_string(
    "user_id", None, "The user to ask for; without it, one with a long history."
)
_K = flags.DEFINE_integer("k", 10, "How many recommendations to show.", lower_bound=1)
_TIMESTAMP = flags.DEFINE_integer(
    "timestamp", None, "Time of the request, UTC seconds; the dataset's end without it."
)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 10.0, "How long to wait for the answer.")
_SAMPLE = 1_000


class Client:
    """Asks one model on one server."""

    def __init__(self, server: str, model_name: str, *, timeout_s: float) -> None:
        """Does not connect yet."""
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self.server, self.model_name, self.timeout_s = server, model_name, timeout_s
        self.channel = grpc.insecure_channel(server)
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
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self.stub.Predict(request, timeout=self.timeout_s)
        except grpc.RpcError as error:
            raise UserError(self._explain(error)) from None
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def _explain(self, error: Any) -> str:
        code, details = error.code(), error.details()
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return f"--server={self.server}: no answer ({code.name}: {details})"
        if code is grpc.StatusCode.NOT_FOUND:
            return f"--model_name={self.model_name}: {self.server} does not serve it ({details})"
        return f"--server={self.server}: {code.name}: {details}"


def spec_of_dataset(manifest: manifests.Manifest) -> FeatureSpec:
    """The spec of the config that a dataset was made with."""
    return spec_of(from_dict(Config, manifest.config, kinds=KINDS))


def main(argv: list[str]) -> dict[str, Any]:
    """Asks, prints a table, and returns the list."""
    del argv
    root = Path(_DATASET.value)
    manifest = manifests.read(root)
    spec = spec_of_dataset(manifest)
    user_id = _USER_ID.value
    if user_id is None:
        user_id = longest_history(load_states(root, manifest, spec, sample=_SAMPLE), spec)
    states = load_state(root, manifest, spec, user_id)
    request = build_request(spec, states, timestamp=_TIMESTAMP.value)

    client = Client(_SERVER.value, _MODEL_NAME.value, timeout_s=_TIMEOUT_S.value)
    client.predict(request)  # the first call opens the connection
    begin = time.perf_counter()
    outputs, version = client.predict(request)
    elapsed_ms = 1e3 * (time.perf_counter() - begin)

    items = [v.decode() for v in outputs["item_id"][0][: _K.value] if v]
    scores = outputs["score"][0][: len(items)].tolist()
    titles = load_titles(root, manifest)
    console().print(_table(spec, states, items, scores, titles, elapsed_ms))
    return {
        "user_id": user_id,
        "version": version,
        "item_id": items,
        "score": [round(score, 4) for score in scores],
        "round_trip_ms": round(elapsed_ms, 2),
    }


def _table(
    spec: FeatureSpec,
    states: UserStates,
    items: Sequence[str],
    scores: Sequence[float],
    titles: dict[str, tuple[str, str]],
    elapsed_ms: float,
) -> Table:
    """What the user watched lately, newest first, beside what is recommended."""
    name, _ = spec.sequence
    watched = list(
        zip(
            states.columns[f"{name}_item_id"][0] or (),
            states.columns[f"{name}_timestamp"][0] or (),
            strict=True,
        )
    )[::-1]
    table = Table(
        title=f"user {states.user_id[0]}: {len(items)} recommendations in {elapsed_ms:.1f} ms"
    )
    for header in ("watched", "title", "category", "", "recommended", "title", "category"):
        table.add_column(header)
    table.add_column("score", justify="right")
    for row in range(max(len(items), min(len(watched), len(items)))):
        left = ["", "", ""]
        if row < len(watched):
            item, at = watched[row]
            when = datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")
            left = [when, *titles.get(item, (item, ""))]
        right = [items[row], *titles.get(items[row], ("", "")), f"{scores[row]:.2f}"]
        table.add_row(*left, "", *right)
    return table


if __name__ == "__main__":
    run_app(main)
