"""TensorProto to NumPy array and back, by TF Serving's rules."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

# The types that requests are made of, and the field that holds their values.
_REQUEST_FIELDS: dict[int, tuple[np.dtype[Any], str]] = {
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_STRING: (np.dtype(np.object_), "string_val"),
}

# Rarer ones that TensorFlow itself decodes.
_OTHER_REQUEST_TYPES = frozenset(
    {
        types_pb2.DT_HALF,
        types_pb2.DT_BFLOAT16,
        types_pb2.DT_INT8,
        types_pb2.DT_INT16,
        types_pb2.DT_UINT8,
        types_pb2.DT_UINT16,
        types_pb2.DT_UINT32,
        types_pb2.DT_UINT64,
        types_pb2.DT_COMPLEX64,
        types_pb2.DT_COMPLEX128,
    }
)


_SHORT = 64  # bytes of a shape: of eight dimensions or so


class _ResponseField(NamedTuple):
    """Where a TensorProto keeps the values of a type, and the type they are kept as."""

    name: str
    view: Any = None


_RESPONSE_FIELDS = {
    types_pb2.DT_FLOAT: _ResponseField("float_val"),
    types_pb2.DT_DOUBLE: _ResponseField("double_val"),
    types_pb2.DT_HALF: _ResponseField("half_val", np.uint16),
    types_pb2.DT_BFLOAT16: _ResponseField("half_val", np.uint16),
    types_pb2.DT_INT8: _ResponseField("int_val"),
    types_pb2.DT_INT16: _ResponseField("int_val"),
    types_pb2.DT_INT32: _ResponseField("int_val"),
    types_pb2.DT_UINT8: _ResponseField("int_val"),
    types_pb2.DT_UINT16: _ResponseField("int_val"),
    types_pb2.DT_INT64: _ResponseField("int64_val"),
    types_pb2.DT_UINT32: _ResponseField("uint32_val"),
    types_pb2.DT_UINT64: _ResponseField("uint64_val"),
    types_pb2.DT_BOOL: _ResponseField("bool_val"),
    types_pb2.DT_COMPLEX64: _ResponseField("scomplex_val", np.float32),
    types_pb2.DT_COMPLEX128: _ResponseField("dcomplex_val", np.float64),
    types_pb2.DT_STRING: _ResponseField("string_val"),
}

# Every dtype that a signature's inputs and outputs may have.
SERVABLE_DTYPES = frozenset(_RESPONSE_FIELDS)


def dtype_name(dtype: int) -> str:
    """A `DataType` as TensorFlow's runtime spells it in errors: DT_FLOAT is `float`."""
    name: str = types_pb2.DataType.Name(dtype)
    return name.removeprefix("DT_").lower()


def shape_of(proto: tensor_pb2.TensorProto) -> tuple[int, ...]:
    """The shape that a TensorProto states; -1 where it leaves a dimension open."""
    shape = proto.tensor_shape.SerializeToString()
    # A client may state any; only what is short is worth its place in memory.
    return _known_sizes(shape) if len(shape) <= _SHORT else _sizes(shape)


def _sizes(shape: bytes) -> tuple[int, ...]:
    return tuple(dim.size for dim in tensor_shape_pb2.TensorShapeProto.FromString(shape).dim)


# To ask each dimension takes three times as long.
_known_sizes = lru_cache(maxsize=1024)(_sizes)


def decode_one_value(proto: tensor_pb2.TensorProto) -> np.ndarray | None:
    """What `decode_tensor` returns for a value alone, of shape [1], in its typed field.

    In half the time: a request of one user has twenty of them.

    Returns:
        None for all other tensors, right or wrong.
    """
    known = _REQUEST_FIELDS.get(proto.dtype)
    if known is None or proto.tensor_content:
        return None
    dtype, field = known
    values = getattr(proto, field)
    if len(values) != 1:
        return None
    dimensions = proto.tensor_shape.dim
    if len(dimensions) != 1 or dimensions[0].size != 1:
        return None
    return np.array(values[:], dtype)


def decode_tensor(proto: tensor_pb2.TensorProto, shape: Sequence[int] | None = None) -> np.ndarray:
    """The array that a TensorProto holds; strings as an object array of bytes.

    Values come from `tensor_content`, which must have exactly the bytes of the shape, or else from
    the typed field, of which surplus values are ignored, missing ones repeat the last, and
    no value at all means zeros or empty strings. The array may share the proto's memory and may
    be read-only.

    Args:
        proto: the tensor.
        shape: its `shape_of`, if the caller has it.

    Raises:
        ValueError: the dtype is unset or unknown, the shape is not fully defined, or the content
            does not fit it.

    Source: tensorflow/core/framework/tensor.cc, Tensor::FromProto.
    """
    if shape is None:
        shape = shape_of(proto)
    if shape and min(shape) < 0:
        raise ValueError("unknown dimension")
    known = _REQUEST_FIELDS.get(proto.dtype)
    if known is None:
        return _decode_by_tensorflow(proto)
    dtype, field = known
    size = math.prod(shape)
    content = proto.tensor_content
    if content and size:
        return _decode_content(content, dtype, size).reshape(shape)
    values = getattr(proto, field)[:size]
    if len(values) == size:
        return np.array(values, dtype).reshape(shape)
    try:
        array = np.full(shape, values[-1] if values else (b"" if dtype == np.object_ else 0), dtype)
    except MemoryError as error:
        raise ValueError(f"shape {shape} does not fit into memory") from error
    array.reshape(-1)[: len(values)] = values
    return array


def _decode_content(content: bytes, dtype: np.dtype[Any], size: int) -> np.ndarray:
    if dtype == np.object_:
        return np.array(_split_strings(content, size), dtype)
    if len(content) != size * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes of content for {size} elements")
    if dtype == np.bool_ and max(content) > 1:
        raise ValueError("a boolean that is neither 0 nor 1")
    return np.frombuffer(content, dtype)


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """The strings of a `tensor_content`: their lengths as varint32, then their bytes on end.

    Raises:
        ValueError: it is not that.

    Source: tensorflow/core/platform/tensor_coding.cc, DecodeStringList.
    """
    lengths = []
    position = 0
    for _ in range(count):
        length = 0
        for shift in range(0, 35, 7):
            if position == len(content):
                raise ValueError("lengths end too early")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte <= 0x7F:
                break
        else:
            raise ValueError("a length has more than 32 bits")
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise ValueError(f"{len(content) - position} bytes for strings of {sum(lengths)}")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _decode_by_tensorflow(proto: tensor_pb2.TensorProto) -> np.ndarray:
    if proto.dtype not in _OTHER_REQUEST_TYPES:
        raise ValueError(f"dtype {proto.dtype}")
    try:
        return tf.io.parse_tensor(proto.SerializeToString(), proto.dtype).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error


def encode_tensor(array: np.ndarray, dtype: int, proto: tensor_pb2.TensorProto) -> None:
    """Fills an empty TensorProto, values in the typed field as TF Serving does.

    Args:
        array: of `dtype`; strings as an object array of bytes.
        dtype: a `DataType` of `SERVABLE_DTYPES`.
        proto: gets dtype, shape and values.

    Source: tensorflow/core/framework/tensor.cc, Tensor::AsProtoField.
    """
    proto.dtype = dtype
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    field = _RESPONSE_FIELDS[dtype]
    flat = array.reshape(-1)
    if field.view is not None:
        flat = flat.view(field.view)
    if flat.dtype.kind == "f":
        # Floats lie in the wire format as they do in memory; `extend` would make a Python float of
        # each, which takes 100 times as long for a batch of embeddings.
        content = flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()
        number = proto.DESCRIPTOR.fields_by_name[field.name].number
        proto.MergeFromString(_length_delimited(number, len(content)) + content)
    else:
        getattr(proto, field.name).extend(flat.tolist())


def _length_delimited(field_number: int, length: int) -> bytes:
    """The wire format's key and length of a field below 16.

    Source: https://protobuf.dev/programming-guides/encoding/.
    """
    prefix = [field_number << 3 | 2]
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*prefix, length])
