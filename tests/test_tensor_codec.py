"""Our reading and writing of TensorProto against TensorFlow's own, which is C++."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving import tensor_codec
from serving.tensor_codec import (
    SERVABLE_DTYPES,
    decode_one_value,
    decode_tensor,
    dtype_name,
    encode_tensor,
    shape_of,
)

VALUES = {
    types_pb2.DT_FLOAT: ("float_val", st.floats(width=32, allow_nan=False)),
    types_pb2.DT_DOUBLE: ("double_val", st.floats(allow_nan=False)),
    types_pb2.DT_INT32: ("int_val", st.integers(-(2**31), 2**31 - 1)),
    types_pb2.DT_INT64: ("int64_val", st.integers(-(2**63), 2**63 - 1)),
    types_pb2.DT_BOOL: ("bool_val", st.booleans()),
    types_pb2.DT_STRING: ("string_val", st.binary(max_size=5)),
    types_pb2.DT_UINT8: ("int_val", st.integers(0, 255)),
    types_pb2.DT_INT16: ("int_val", st.integers(-(2**15), 2**15 - 1)),
    types_pb2.DT_UINT64: ("uint64_val", st.integers(0, 2**64 - 1)),
    types_pb2.DT_HALF: ("half_val", st.integers(0, 2**15 - 1025)),
}
RARE = {types_pb2.DT_UINT8, types_pb2.DT_INT16, types_pb2.DT_UINT64, types_pb2.DT_HALF}


@st.composite
def tensor_protos(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """Protos that TensorFlow takes and protos that it refuses."""
    dtype = draw(st.sampled_from(sorted(VALUES)))
    field, values = VALUES[dtype]
    proto = tensor_pb2.TensorProto(dtype=dtype)
    shape = draw(st.lists(st.integers(-1, 3), max_size=3))
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.sampled_from([False] * 9 + [True]))
    getattr(proto, field).extend(draw(st.lists(values, max_size=12)))
    if draw(st.booleans()):
        # Small bytes, so that booleans and the lengths of strings come out right now and then.
        content = st.lists(st.sampled_from([0, 1, 2, 0x81]), max_size=48).map(bytes)
        proto.tensor_content = draw(content)
    return proto


def _is_in_typed_field(proto: tensor_pb2.TensorProto) -> bool:
    """Of the types that requests are made of: whether it has its one value there."""
    field, _ = VALUES[proto.dtype]
    is_common = proto.dtype not in RARE
    return is_common and not proto.tensor_content and len(getattr(proto, field)) == 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(tensor_protos())
def test_decodes_and_refuses_what_tensorflow_does(proto: tensor_pb2.TensorProto) -> None:
    try:
        expected = tf.io.parse_tensor(proto.SerializeToString(), proto.dtype).numpy()
    except tf.errors.InvalidArgumentError:
        with pytest.raises(ValueError):
            decode_tensor(proto)
        assert decode_one_value(proto) is None
        return
    array = decode_tensor(proto)
    alone = decode_one_value(proto)
    assert (alone is not None) == (array.shape == (1,) and _is_in_typed_field(proto))
    if alone is not None:
        assert (alone.dtype, alone.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(alone, array)
    assert array.shape == np.shape(expected)
    if proto.dtype == types_pb2.DT_STRING:
        assert array.dtype == np.object_
        assert array.tolist() == np.asarray(expected, object).tolist()
    else:
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0], [np.inf, 0.0]], np.float32),
        np.zeros((3, 5), np.int64),
        np.array([True, False]),
        np.array(2.5),
        np.empty((0, 7), np.float32),
    ],
)
def test_decodes_tensor_content(array: np.ndarray) -> None:
    decoded = decode_tensor(tf.make_tensor_proto(array))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


def test_decodes_strings_in_tensor_content() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\x02\x01abc")
    proto.tensor_shape.dim.add(size=2)
    assert decode_tensor(proto).tolist() == [b"ab", b"c"]
    long = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, tensor_content=b"\xac\x02" + b"x" * 300
    )
    assert decode_tensor(long).item() == b"x" * 300


def test_long_shapes_are_not_kept() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.dim.add(size=7, name="x" * 1_000)
    before = tensor_codec._known_sizes.cache_info().currsize
    assert shape_of(proto) == (7,)
    assert tensor_codec._known_sizes.cache_info().currsize == before
    proto.tensor_shape.dim[0].name = ""
    assert shape_of(proto) == (7,)


@pytest.mark.parametrize("dtype", [0, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT, 101, 9999])
def test_refuses_other_dtypes(dtype: int) -> None:
    with pytest.raises(ValueError):
        decode_tensor(tensor_pb2.TensorProto(dtype=dtype))


def test_refuses_a_shape_that_no_memory_holds() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    proto.tensor_shape.dim.add(size=1 << 50)
    with pytest.raises(ValueError):
        decode_tensor(proto)


@pytest.mark.parametrize("dtype", sorted(SERVABLE_DTYPES - {types_pb2.DT_STRING}))
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 50), (2, 0, 3)])
def test_numbers_survive_the_way_to_the_client(dtype: int, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(7).uniform(0, 100, shape)
    array = np.asarray(random).astype(tf.as_dtype(dtype).as_numpy_dtype)
    proto = tensor_pb2.TensorProto()
    encode_tensor(array, dtype, proto)
    assert not proto.tensor_content
    assert proto == tensor_pb2.TensorProto.FromString(proto.SerializeToString())
    received = tf.make_ndarray(proto)
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)


def test_strings_survive_the_way_to_the_client() -> None:
    array = np.array([[b"a", b""], [b"\xff\x00", "über".encode()]], object)
    proto = tensor_pb2.TensorProto()
    encode_tensor(array, types_pb2.DT_STRING, proto)
    assert list(proto.string_val) == array.reshape(-1).tolist()
    assert tf.make_ndarray(proto).tolist() == array.tolist()


def test_dtypes_are_named_as_the_runtime_names_them() -> None:
    assert [dtype_name(d) for d in (1, 2, 3, 7, 9, 10, 14, 19)] == [
        "float",
        "double",
        "int32",
        "string",
        "int64",
        "bool",
        "bfloat16",
        "half",
    ]
