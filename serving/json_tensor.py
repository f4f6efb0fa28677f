"""JSON of the REST API to a PredictRequest, a PredictResponse to JSON, in TF Serving's words.

Source: tensorflow_serving/util/json_tensor.cc. Where the JSON itself is broken, the place is the
same but the reason is always `Invalid value.`, for which TF Serving's parser has several words.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.request_errors import RequestError

_INT_BITS = {
    types_pb2.DT_INT8: ("int_val", -(2**31), 2**31),
    types_pb2.DT_INT16: ("int_val", -(2**31), 2**31),
    types_pb2.DT_INT32: ("int_val", -(2**31), 2**31),
    types_pb2.DT_UINT8: ("int_val", -(2**31), 2**31),
    types_pb2.DT_UINT32: ("uint32_val", 0, 2**32),
    types_pb2.DT_INT64: ("int64_val", -(2**63), 2**63),
    types_pb2.DT_UINT64: ("uint64_val", 0, 2**64),
}
# Field, largest value, largest integer that the type holds exactly.
_FLOATS = {
    types_pb2.DT_FLOAT: ("float_val", float(tf.float32.max), 2**24 - 1, "float"),
    types_pb2.DT_DOUBLE: ("double_val", float(tf.float64.max), 2**53 - 1, "double"),
}
# Outputs of this ending are bytes: {"b64": …}.
_BYTES_SUFFIX = "_bytes"


def _invalid(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body.

    Raises:
        RequestError: it is none.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise _invalid(f"JSON Parse error: Invalid value. at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        raise _invalid(f"JSON Parse error: Invalid value. at offset: {error.start}") from None
    except (RecursionError, ValueError):  # Nested too deep; an integer of thousands of digits.
        raise _invalid("JSON Parse error: Invalid value. at offset: 0") from None
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name_of(document: Mapping[str, Any]) -> str:
    """The signature that a body asks for, '' where it leaves the choice to the server.

    Raises:
        RequestError: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid(
            f"JSON Value: {_text(document)} not formatted correctly."
            " 'signature_name' key must be a string value."
        )
    return name


def fill_inputs(
    document: Mapping[str, Any], infos: Mapping[str, Any], request: predict_pb2.PredictRequest
) -> bool:
    """Fills a request's inputs from a body's `instances` (rows) or `inputs` (columns).

    Args:
        document: the body.
        infos: `TensorInfo` of each input of the signature.
        request: gets the inputs.

    Returns:
        Whether the body has rows; the answer then has rows too.

    Raises:
        RequestError: the body does not fit the signature.
    """
    if "instances" in document and "inputs" in document:
        raise _invalid(
            f"JSON Value: {_text(document)} Not formatted correctly expecting only one of 'inputs'"
            " or 'instances' keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise _invalid(
                f"JSON Value: {_text(document)} Excepting 'instances' to be an list/array"
            )
        if not rows:
            raise _invalid(f"JSON Value: {_text(document)} No values in 'instances' array")
        _fill_rows(rows, infos, request)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], infos, request)
        return False
    raise _invalid("Missing 'inputs' or 'instances' key")


def _fill_rows(
    rows: list[Any], infos: Mapping[str, Any], request: predict_pb2.PredictRequest
) -> None:
    are_objects = _is_named(rows[0])
    if not are_objects and len(infos) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors"
            " required as per tensorinfo_map"
        )
    names = sorted(infos)
    tensors: dict[str, tensor_pb2.TensorProto] = {}
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if are_objects and not _is_named(row):
            raise _invalid(f"Expecting object but got list at item {index} of input list")
        if not are_objects and _is_named(row):
            raise _invalid(f"Expecting value/list but got object at item {index} of input list")
        where = f"Failed to process element: {index}"
        for name, value in row.items() if are_objects else [(names[0], row)]:
            key = f" key: {name}" if are_objects else ""
            try:
                if name not in infos:
                    raise _invalid(f"JSON object: does not have named input: {name}")
                tensor = tensors.setdefault(name, tensor_pb2.TensorProto(dtype=infos[name].dtype))
                shape = _shape(value)
                _fill(value, shape, 0, tensor)
                if shapes.setdefault(name, shape) != shape:
                    raise _shape_mismatch(shapes[name], shape)
            except RequestError as error:
                raise _invalid(
                    f"{where}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
                ) from None
        if are_objects and sorted(row) != names:
            raise _invalid(
                f"{where} of 'instances' list. JSON object: {_text(row)} keys must be equal to: "
                + ",".join(names)
            )
    for name, tensor in tensors.items():
        for size in (len(rows), *shapes[name]):
            tensor.tensor_shape.dim.add(size=size)
        request.inputs[name].CopyFrom(tensor)


def _shape_mismatch(first: list[int], shape: list[int]) -> RequestError:
    sizes = [1, 1]
    for index, each in enumerate((first, shape)):
        for size in each:
            sizes[index] *= size
    if sizes[0] != sizes[1]:
        return _invalid(f"Expecting tensor size: {sizes[0]} but got: {sizes[1]}")
    texts = ["[" + ",".join(map(str, each)) + "]" for each in (first, shape)]
    return _invalid(f"Expecting shape {texts[0]} but got: {texts[1]}")


def _fill_columns(
    value: Any, infos: Mapping[str, Any], request: predict_pb2.PredictRequest
) -> None:
    if not _is_named(value):
        if len(infos) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors"
                " required as per tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    for name in sorted(infos):
        if name not in value:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
        tensor = request.inputs[name]
        tensor.dtype = infos[name].dtype
        shape = _shape(value[name])
        tensor.tensor_shape.SetInParent()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        _fill(value[name], shape, 0, tensor)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _shape(value: Any) -> list[int]:
    """Sizes along the first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _fill(value: Any, shape: list[int], level: int, tensor: tensor_pb2.TensorProto) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise _invalid(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON"
                f" DOM. Expected at level: {len(shape)}"
            )
        _add(value, tensor)
        return
    if level >= len(shape):
        raise _invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise _invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level}"
            f" expected size: {shape[level]}"
        )
    for each in value:
        _fill(each, shape, level + 1, tensor)


def _add(value: Any, tensor: tensor_pb2.TensorProto) -> None:
    dtype = tensor.dtype
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == types_pb2.DT_STRING and isinstance(value, str):
        # JSON may carry half a surrogate pair, which has no UTF-8 of its own.
        tensor.string_val.append(value.encode("utf-8", "surrogatepass"))
    elif dtype == types_pb2.DT_STRING and isinstance(value, dict):
        tensor.string_val.append(_decode_base64(value))
    elif dtype in _FLOATS and is_number:
        field, largest, exact, name = _FLOATS[dtype]
        finite = isinstance(value, int) or abs(value) != float("inf")
        if finite and abs(value) > (exact if isinstance(value, int) else largest):
            raise _invalid(
                f"Cannot convert JSON value: {_text(value)} to {name} without loss of precision."
            )
        getattr(tensor, field).append(value)
    elif dtype in _INT_BITS and is_number and isinstance(value, int):
        field, low, above = _INT_BITS[dtype]
        if not low <= value < above:
            raise _type_error(value, dtype)
        getattr(tensor, field).append(value)
    elif dtype == types_pb2.DT_BOOL and isinstance(value, bool):
        tensor.bool_val.append(value)
    else:
        raise _type_error(value, dtype)


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _invalid(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


def _type_error(value: Any, dtype: int) -> RequestError:
    kinds = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    kind = "Null" if value is None else kinds.get(type(value), str(value))
    expected = tf.dtypes.as_dtype(dtype).name
    return _invalid(f"JSON Value: {_text(value)} Type: {kind} is not of expected type: {expected}")


def _text(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


def answer_of(response: predict_pb2.PredictResponse, *, as_rows: bool) -> dict[str, Any]:
    """The JSON object of an answer: `predictions` (rows) or `outputs` (columns).

    Raises:
        RequestError: rows are asked for and the outputs have no common batch.
    """
    columns = {name: _values(name, tensor) for name, tensor in sorted(response.outputs.items())}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if not as_rows:
        return {"outputs": columns if only is None else only}
    sizes = set()
    for name, tensor in response.outputs.items():
        if not tensor.tensor_shape.dim:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        sizes.add(tensor.tensor_shape.dim[0].size)
    if len(sizes) > 1:
        raise _invalid("Tensors have inconsistent batch sizes")
    if only is not None:
        return {"predictions": only}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _values(name: str, tensor: tensor_pb2.TensorProto) -> Any:
    array = tf.make_ndarray(tensor)
    if tensor.dtype == types_pb2.DT_STRING:
        flat: list[Any] = [
            {"b64": base64.b64encode(v).decode()}
            if name.endswith(_BYTES_SUFFIX)
            else v.decode("utf-8", "replace")
            for v in array.reshape(-1)
        ]
    elif array.dtype.kind == "f":
        # The shortest decimal that is this float32: 0.2, not 0.20000000298.
        flat = [float(str(v)) for v in array.reshape(-1)]
    else:
        flat = array.reshape(-1).tolist()
    boxed = np.empty(len(flat), object)
    boxed[:] = flat
    return boxed.reshape(array.shape).tolist()
