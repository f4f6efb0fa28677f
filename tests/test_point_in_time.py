"""Rows of the job against rows worked out one event at a time."""

from pathlib import Path

import pytest

from configs.schema import Data, PositiveRule, Seen, Split, SplitBy, Ties
from tests.decoded import run
from tests.raw_logs import config_of, raw_log, small_data, write_tables
from tests.reference_rows import Reference

RULES = {
    "strict": small_data(max_next_queries=1_000),
    "repeats": small_data(
        repeats=True,
        watch_weight=0.5,
        explicit_negatives=True,
        negatives_per_row=2,
        positive=PositiveRule(min_watch_sec=4, min_watch_fraction=1, events=("click",)),
    ),
    "loo": small_data(split=Split(by=SplitBy.LOO)),
    "loo in file order": small_data(
        split=Split(by=SplitBy.LOO), ties=Ties.FILE_ORDER, seen=Seen.POSITIVE
    ),
}


@pytest.mark.parametrize(("seed", "data"), list(enumerate(RULES.values())), ids=list(RULES))
def test_rows_are_those_of_a_loop_over_events(seed: int, data: Data, tmp_path: Path) -> None:
    config = config_of(data)
    events, videos, users = raw_log(seed)

    found = run(config, write_tables(tmp_path, events, videos, users), tmp_path / "out")

    # More than one of everything that rows are cut up by, or the test would prove little.
    assert len(found.manifest.part("train")) == 2
    assert len(found.records("train")) > 4
    assert found.manifest.counters["total"]["duplicate"] > 5
    in_file_order = events[0::3] + events[1::3] + events[2::3]
    expected = Reference(config, in_file_order, videos, users)
    train = found.rows("train")
    assert len(train) > 50
    assert train == expected.train_rows()
    assert {len(row["negative_item"]) for row in train} >= {0, 1, 2}
    assert (len({row["weight"] for row in train}) > 2) == (data.watch_weight > 0)
    differ = data.split.by is not SplitBy.LOO
    for split in ("validation", "test"):
        if data.split.by is SplitBy.LOO:
            asked = {
                "loo-file": expected.label_queries(split, order="file"),
                "loo-strict": expected.label_queries(split, order="strict"),
            }
            differ |= asked["loo-file"] != asked["loo-strict"]
        else:
            asked = {
                "window": expected.window_queries(split),
                "next": expected.label_queries(split, order="as rows"),
            }
        for protocol, queries in asked.items():
            assert len(queries) > 2
            assert found.rows(f"queries/{split}/{protocol}") == queries, protocol
    assert differ
    if data.ties is Ties.STRICT:
        assert all(row["feature_time"] < row["timestamp"] for row in train)


def test_no_row_is_of_one_group_only() -> None:
    """The groups of the logs above: users are spread over all of them."""
    import numpy as np
    import polars as pl

    from preprocessing.hashing import hash_strings

    users = pl.Series([f"u{number}" for number in range(12)])
    groups = hash_strings(users) % np.uint64(small_data().partitions)
    assert set(groups.tolist()) == {0, 1, 2}
