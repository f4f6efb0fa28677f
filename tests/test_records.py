"""Records written without TensorFlow are what TensorFlow reads."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.columns import LENGTH_SUFFIX, Column, DType
from preprocessing.records import Values, encode_rows, varints

INT64S = st.integers(-(2**63), 2**63 - 1)
COLUMNS = (
    Column(name="id", dtype=DType.BYTES),
    Column(name="time", dtype=DType.INT64),
    Column(name="score", dtype=DType.FLOAT),
    Column(name="vector", dtype=DType.FLOAT, length=2),
    Column(name="items", dtype=DType.INT64, max_length=5),
    Column(name="keys", dtype=DType.BYTES, unbounded=True),
)
ROW = st.tuples(
    st.binary(max_size=200),
    INT64S,
    st.floats(width=32, allow_nan=False),
    st.tuples(*[st.floats(width=32, allow_nan=False)] * 2),
    st.lists(INT64S, max_size=5),
    st.lists(st.binary(max_size=3), max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=7), rows_per_record=st.sampled_from([1, 3, 100]))
def test_tensorflow_reads_back_every_value(rows: list[tuple], rows_per_record: int) -> None:
    ids, times, scores, vectors, items, keys = (list(column) for column in zip(*rows, strict=True))
    block = {
        "id": Values(flat=ids),
        "time": Values(flat=np.array(times, np.int64)),
        "score": Values(flat=np.array(scores, np.float32)),
        "vector": Values(flat=np.array(vectors, np.float32).ravel()),
        "items": Values(
            flat=np.array([x for row in items for x in row], np.int64),
            lengths=np.array([len(row) for row in items], np.int64),
        ),
        "keys": Values(
            flat=[x for row in keys for x in row],
            lengths=np.array([len(row) for row in keys], np.int64),
        ),
    }
    framed = list(encode_rows(COLUMNS, block, rows=len(rows), rows_per_record=rows_per_record))
    assert len(framed) == -(-len(rows) // rows_per_record)
    start = 0
    for record in framed:
        part = rows[start : start + rows_per_record]
        start += rows_per_record
        payload = record[12:-4]
        assert int.from_bytes(record[:8], "little") == len(payload)
        feature = tf.train.Example.FromString(payload).features.feature
        assert list(feature["id"].bytes_list.value) == [row[0] for row in part]
        assert list(feature["time"].int64_list.value) == [row[1] for row in part]
        assert list(feature["score"].float_list.value) == [row[2] for row in part]
        assert list(feature["vector"].float_list.value) == [x for row in part for x in row[3]]
        assert list(feature["items"].int64_list.value) == [x for row in part for x in row[4]]
        assert list(feature["keys"].bytes_list.value) == [x for row in part for x in row[5]]
        for name, place in (("items", 4), ("keys", 5)):
            lengths = feature[name + LENGTH_SUFFIX].int64_list.value
            assert list(lengths) == [len(row[place]) for row in part]


def test_tensorflow_takes_the_frames(tmp_path) -> None:
    columns = COLUMNS[:1]
    values = [bytes([65 + number]) * number * 40 for number in range(9)]
    block = {"id": Values(flat=values)}
    path = tmp_path / "some.tfrecord"
    path.write_bytes(b"".join(encode_rows(columns, block, rows=9, rows_per_record=2)))
    found = []
    for record in tf.data.TFRecordDataset(str(path)):  # checks both sums of each frame
        example = tf.train.Example.FromString(record.numpy())
        found.append(list(example.features.feature["id"].bytes_list.value))
    assert found == [values[start : start + 2] for start in range(0, 9, 2)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(INT64S, st.integers(0, 2**14), st.integers(0, 2**35), st.integers(0, 127)),
        max_size=40,
    )
)
def test_varints_are_those_of_protocol_buffers(values: list[int]) -> None:
    packed = tf.train.Int64List(value=values).SerializeToString()
    body = varints(np.array(values, np.int64))
    assert packed.endswith(body)
    header = len(packed) - len(body)
    assert header == (0 if not values else 2 if len(body) < 128 else 3)
