"""One Predict on one loaded signature, with TF Serving's checks in TF Serving's order and words.

Source: tensorflow_serving/servables/tensorflow/predict_util.cc and
tensorflow/cc/saved_model/util.cc; the texts are those of TF Serving 2.20.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.limits import Limits
from serving.request_errors import RequestError
from serving.saved_model import SavedModel, Signature
from serving.tensor_codec import (
    decode_one_value,
    decode_tensor,
    dtype_name,
    encode_tensor,
    shape_of,
)

DEFAULT_SIGNATURE_NAME = "serving_default"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
# An op that fails so has a bug; any other failure of an op is an answer to the request.
_BUGS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


def _invalid(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _braces(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPredict:
    """A request that fits its signature.

    Attributes:
        signature_name: which one.
        signature: what to run.
        arrays: to run it on.
        wanted: positions of the outputs to answer with.
    """

    signature_name: str
    signature: Signature
    arrays: list[np.ndarray]
    wanted: Sequence[int]

    def response(self, outputs: Sequence[np.ndarray]) -> predict_pb2.PredictResponse:
        """The answer made of the run's outputs; of its model_spec, the signature's name only."""
        signature = self.signature
        response = predict_pb2.PredictResponse()
        response.model_spec.signature_name = self.signature_name
        for position in self.wanted:
            encode_tensor(
                outputs[position],
                signature.output_dtypes[position],
                response.outputs[signature.output_names[position]],
            )
        return response


def prepare(
    model: SavedModel, request: predict_pb2.PredictRequest, limits: Limits
) -> PreparedPredict:
    """Checks a request and decodes its inputs.

    Raises:
        RequestError: the request does not fit the signature, or is over a limit.
    """
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE_NAME
    signature = model.signatures.get(signature_name)
    if signature is None:
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'Serving signature key "{signature_name}" not found.',
        )
    arrays, have_its_dtypes = _input_arrays(signature, request.inputs, limits)
    wanted = _wanted_outputs(signature, request.output_filter)
    if not have_its_dtypes:
        raise _dtype_refusal(signature, request.inputs)
    return PreparedPredict(
        signature_name=signature_name, signature=signature, arrays=arrays, wanted=wanted
    )


def as_refusal(error: Exception) -> Exception:
    """For a run that ended in `error`: the refusal, where an op refused, or the bug as it is."""
    if isinstance(error, tf.errors.OpError):
        code = _CODES[error.error_code]
        if code not in _BUGS:
            return RequestError(code, error.message)
    return error


def predict(model: SavedModel, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Prepares, runs and answers a request, alone and whatever its size.

    Raises:
        RequestError: the request does not fit the signature, or an op refuses it.
    """
    prepared = prepare(model, request, Limits())
    try:
        outputs = prepared.signature.run(*prepared.arrays)
    except tf.errors.OpError as error:
        raise as_refusal(error) from error
    return prepared.response(outputs)


def _input_arrays(
    signature: Signature, inputs: Any, limits: Limits
) -> tuple[list[np.ndarray], bool]:
    """The arrays to run on, in the signature's order, and whether they have its dtypes."""
    expected = signature.input_names
    is_short = len(inputs) < len(expected) and not signature.defaults
    if len(inputs) > len(expected) or is_short:
        raise _invalid(
            f"input size does not match signature: {len(inputs)}!={len(expected)}"
            f" len({_braces(inputs)}) != len({_braces(expected)})."
            f" Sent extra: {_braces(set(inputs) - set(expected))}."
            f" Missing but required: {_braces(set(expected) - set(inputs))}."
        )
    arrays = []
    used = 0
    have_its_dtypes = True
    for name, dtype in zip(expected, signature.input_dtypes, strict=True):
        # Of a map, `in` before `[]`: `[]` alone would put an empty tensor there.
        if name in inputs:
            used += 1
            proto = inputs[name]
            have_its_dtypes &= proto.dtype == dtype
            array = decode_one_value(proto)  # Most inputs of most requests; no limit is below it.
            if array is None:
                shape = shape_of(proto)
                limits.check(name, shape)
                try:
                    array = decode_tensor(proto, shape)
                except ValueError as error:
                    raise _invalid(f"tensor parsing error: {name}") from error
            arrays.append(array)
        elif name in signature.defaults:
            arrays.append(signature.defaults[name])
        else:
            feed_name = signature.feed_names[len(arrays)]
            raise _invalid(
                f"Signature input alias: {name}(feed name: {feed_name}) not found in request and"
                f" no default value provided. Inputs expected to be in the request"
                f" {_braces(inputs)}, or default input alias set: "
                + ",".join(sorted(signature.defaults))
            )
    if used != len(inputs):
        raise _invalid(
            "Inputs contains invalid name. Used request inputs: "
            + ",".join(name for name in expected if name in inputs)
            + ", request input: "
            + ",".join(sorted(inputs))
        )
    return arrays, have_its_dtypes


def _dtype_refusal(signature: Signature, inputs: Any) -> RequestError:
    dtypes = zip(signature.input_names, signature.input_dtypes, strict=True)
    index, name, dtype = next(
        (index, name, dtype)
        for index, (name, dtype) in enumerate(dtypes)
        if name in inputs and inputs[name].dtype != dtype
    )
    return _invalid(
        f"Expects arg[{index}] to be {dtype_name(dtype)}"
        f" but {dtype_name(inputs[name].dtype)} is provided"
    )


def _wanted_outputs(signature: Signature, output_filter: Sequence[str]) -> Sequence[int]:
    """Positions of the outputs to return: those of the filter, or without one, all."""
    if not output_filter:
        return range(len(signature.output_names))
    wanted: list[int] = []
    for name in output_filter:
        if name not in signature.output_names:
            raise _invalid(
                f"output tensor alias not found in signature: {name}"
                f" Outputs expected to be in the set {_braces(signature.output_names)}."
            )
        position = signature.output_names.index(name)
        if position in wanted:
            raise _invalid(f"duplicate output tensor alias: {name}")
        wanted.append(position)
    return wanted
