"""Records are read back without TensorFlow as they were written, and never short."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from preprocessing.columns import Column, DType
from preprocessing.description.reading import read_rows
from preprocessing.description.sample import Reservoir
from preprocessing.records import Values, encode_rows
from tests.damage import flip_a_bit

COLUMNS = (
    Column(name="id", dtype=DType.BYTES),
    Column(name="time", dtype=DType.INT64),
    Column(name="score", dtype=DType.FLOAT),
    Column(name="vector", dtype=DType.FLOAT, length=2),
    Column(name="items", dtype=DType.INT64, max_length=5),
    Column(name="keys", dtype=DType.BYTES, unbounded=True),
)
INT64S = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32, allow_nan=False)
ROW = st.tuples(
    st.text(max_size=9),
    INT64S,
    FLOATS,
    st.tuples(FLOATS, FLOATS),
    st.lists(INT64S, max_size=5),
    st.lists(st.text(max_size=3), max_size=4),
)


def write(path: Path, rows: list[tuple], *, rows_per_record: int) -> None:
    ids, times, scores, vectors, items, keys = (list(column) for column in zip(*rows, strict=True))
    block = {
        "id": Values(flat=[each.encode() for each in ids]),
        "time": Values(flat=np.array(times, np.int64)),
        "score": Values(flat=np.array(scores, np.float32)),
        "vector": Values(flat=np.array(vectors, np.float32).ravel()),
        "items": Values(
            flat=np.array([x for row in items for x in row], np.int64),
            lengths=np.array([len(row) for row in items], np.int64),
        ),
        "keys": Values(
            flat=[x.encode() for row in keys for x in row],
            lengths=np.array([len(row) for row in keys], np.int64),
        ),
    }
    records = encode_rows(COLUMNS, block, rows=len(rows), rows_per_record=rows_per_record)
    path.write_bytes(b"".join(records))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "00000.tfrecord"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=9),
    rows_per_record=st.sampled_from([1, 3, 100]),
    block_rows=st.sampled_from([1, 4, 100]),
)
def test_every_value_is_read_back(
    path: Path, rows: list[tuple], rows_per_record: int, block_rows: int
) -> None:
    write(path, rows, rows_per_record=rows_per_record)
    blocks = list(read_rows(path, COLUMNS, block_rows=block_rows))
    assert all(len(block) >= block_rows for block in blocks[:-1])
    found = pl.concat(blocks)
    assert found["id"].to_list() == [row[0] for row in rows]
    assert found["time"].to_list() == [row[1] for row in rows]
    assert found["score"].to_list() == [row[2] for row in rows]
    assert found["vector"].to_list() == [list(row[3]) for row in rows]
    assert found["items"].to_list() == [row[4] for row in rows]
    assert found["keys"].to_list() == [row[5] for row in rows]


ROWS = [(f"u{n}", n, n / 2, (1.0, 2.0), [n] * (n % 3), ["k"]) for n in range(12)]


@pytest.mark.parametrize("at", [0, 9, 20, -1])
def test_a_flipped_bit_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "some.tfrecord"
    write(path, ROWS, rows_per_record=5)
    flip_a_bit(path, at)
    with pytest.raises(UserError, match=rf"^{path}: found a broken record at byte \d+, expected"):
        list(read_rows(path, COLUMNS))


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_cut_within_a_record_is_found(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "some.tfrecord"
    write(path, ROWS, rows_per_record=5)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match="found a broken record at byte"):
        list(read_rows(path, COLUMNS))


def test_a_column_that_records_lack_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.tfrecord"
    write(path, ROWS, rows_per_record=5)
    columns = (*COLUMNS, Column(name="age", dtype=DType.FLOAT))
    with pytest.raises(UserError, match="column 'age' has 0 values in 12 rows, expected 12 in 12"):
        list(read_rows(path, columns))


def test_a_sample_is_bounded_uniform_and_the_same_each_time() -> None:
    blocks = [
        pl.DataFrame({"row": list(range(start, start + 50))}) for start in range(0, 20_000, 50)
    ]
    columns = (Column(name="row", dtype=DType.INT64),)
    samples = []
    for _ in range(2):
        reservoir = Reservoir(1_000)
        held = 0
        for block in blocks:
            reservoir.add(block)
            held = max(held, reservoir.held)
        assert held < 2_050
        samples.append(reservoir.sample(columns))
    assert samples[0].equals(samples[1])
    rows = samples[0]["row"]
    assert len(rows) == rows.n_unique() == 1_000
    # Tenths of the rows hold a tenth of the sample each: 100 with a deviation of 9.5.
    tenths = np.bincount(rows.to_numpy() // 2_000, minlength=10)
    assert tenths.min() > 100 - 5 * 9.5 and tenths.max() < 100 + 5 * 9.5


def test_a_sample_of_fewer_rows_is_all_of_them() -> None:
    reservoir = Reservoir(100)
    reservoir.add(pl.DataFrame({"row": [3, 1, 2]}))
    assert sorted(reservoir.sample(())["row"]) == [1, 2, 3]
