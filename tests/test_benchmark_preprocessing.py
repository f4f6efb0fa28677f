"""The peers of benchmarks/preprocessing compute what the job computes, or ratios mean nothing."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.preprocessing import beam_peer, polars_peer, setting
from benchmarks.preprocessing.decode import decode
from configs.simulation import ShortVideoSimulation
from preprocessing.features import spec_of
from preprocessing.job import preprocess
from preprocessing.simulate import simulate, tables_in
from tests.quiet import QUIET

COLUMNS = spec_of(setting.config()).train_columns


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small log, some of its events twice and some disliked later."""
    log = tmp_path_factory.mktemp("log") / "log"
    simulate(
        ShortVideoSimulation(users=60, videos=300, creators=20), output=str(log), display=QUIET
    )
    file = next((log / "events").glob("*.parquet"))
    events = pl.read_parquet(file)
    doubled = events[::50].with_columns(pl.col("watch_sec") + 1)
    disliked = events.filter(pl.col("event") == "like").with_columns(
        pl.lit("dislike").alias("event"), pl.col("timestamp") + 9
    )[::2]
    pl.concat([events, doubled, disliked]).write_parquet(file)
    return tables_in(log)


@pytest.fixture(scope="module")
def expected(tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The job's train rows."""
    output = tmp_path_factory.mktemp("job") / "dataset"
    preprocess(setting.config(), tables=tables, output=output, display=QUIET)
    return decode(output.glob("data-*/train/*.tfrecord"), COLUMNS)


@pytest.mark.parametrize("run", [polars_peer.run, beam_peer.run], ids=["polars", "beam"])
def test_a_peer_makes_the_rows_of_the_job(
    run: Callable[..., object], tables: dict[str, str], expected: pl.DataFrame, tmp_path: Path
) -> None:
    run(setting.config(), tables, tmp_path / "rows")

    found = decode((file for file in tmp_path.rglob("*") if file.is_file()), COLUMNS)

    assert len(expected) > 500
    assert (expected["history_item"].list.len() > 20).any()
    assert_frame_equal(found, expected)


def test_both_forms_of_records_hold_the_rows(expected: pl.DataFrame, tmp_path: Path) -> None:
    from benchmarks.preprocessing.records import RecordsBenchmark

    records = RecordsBenchmark(expected, spec_of(setting.config()), tmp_path)
    assert records.write_packed() > 0 and records.write_one_row() > 0
    assert records.same()
    # Reading raises if it does not find all rows.
    for dense in (False, True):
        records.read_packed(dense=dense)
        records.read_one_row(dense=dense)
