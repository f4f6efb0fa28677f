"""The sequence form says what the row form says, a user's rows together."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from configs.schema import Data, Form, Split, SplitBy, Ties
from preprocessing.columns import END_SUFFIX, ITEM, TIMESTAMP, USER_ID
from preprocessing.contract import VIDEO_ID
from preprocessing.labels import STATUS, Status
from preprocessing.point_in_time import Timeline
from preprocessing.sequences import sequences_of
from preprocessing.sethash import differing, set_hashes
from tests.decoded import Decoded, run
from tests.raw_logs import (
    Row,
    config_of,
    random_log,
    random_users,
    random_videos,
    small_data,
    write_tables,
)

LENGTH, CONTEXT = 4, 2  # `config_of` has histories of 4
RULES = {
    "strict": small_data(),
    "repeats": small_data(repeats=True, explicit_negatives=True, negatives_per_row=2),
    "file order": small_data(split=Split(by=SplitBy.LOO), ties=Ties.FILE_ORDER),
}


def both_forms(seed: int, data: Data, folder: Path) -> tuple[Decoded, Decoded]:
    """One log as rows and as sequences."""
    tables = write_tables(folder, random_log(seed), random_videos(seed), random_users(seed))
    found = []
    for form in Form:
        of_form = dataclasses.replace(data, form=form, sequence_context=CONTEXT)
        found.append(run(config_of(of_form), tables, folder / form.value))
    return found[0], found[1]


def key_of(row: Row) -> tuple[Any, ...]:
    return row["user_id"], row["item"], row["label_time"]


@pytest.mark.parametrize(("seed", "data"), list(enumerate(RULES.values())), ids=list(RULES))
def test_sequences_hold_the_rows_of_the_row_form(seed: int, data: Data, tmp_path: Path) -> None:
    rows, sequences = both_forms(seed, data, tmp_path)
    length = rows.spec.sequence[1].max_length
    item, time = rows.spec.history_columns
    expected = {key_of(row): row for row in rows.rows("train")}
    assert len(expected) == rows.manifest.rows("train") > 50
    found = sequences.rows("train")
    assert len(found) == len(expected)
    cut = 0
    for row in found:
        one = expected[key_of(row)]
        assert {n: v for n, v in row.items() if n not in (item, time)} == {
            n: v for n, v in one.items() if n not in (item, time)
        }
        kept = len(row[item])
        assert row[item] == one[item][len(one[item]) - kept :]
        assert row[time] == one[time][len(one[time]) - kept :]
        if kept < len(one[item]):  # a later sequence, whose first row knows of the context
            assert kept > CONTEXT and len(one[item]) == length
            cut += 1
        if data.ties is Ties.STRICT:
            assert all(each < row["timestamp"] for each in row[time])
    assert 0 < cut < len(found) / 2
    # All but train is the same, and so are the counters.
    assert differing(set_hashes(rows.root), set_hashes(sequences.root)) == ["train"]
    assert rows.manifest.counters == sequences.manifest.counters


def test_a_record_is_one_users_rows_in_the_order_of_time(tmp_path: Path) -> None:
    _, found = both_forms(3, small_data(), tmp_path)
    records = found.records("train")
    assert len(records) == found.manifest.records("train")
    several = 0
    for record in records:
        values = record.features.feature
        assert len(set(values["user_id"].bytes_list.value)) == 1
        times = list(values["timestamp"].int64_list.value)
        assert times == sorted(times)
        ends = list(values["history_item" + END_SUFFIX].int64_list.value)
        assert ends == sorted(ends)
        assert len(values["history_item"].int64_list.value) == max(ends) <= LENGTH
        several += len(times) > 1
    assert several > len(records) / 3


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), min_size=1, max_size=60
    ),
    length=st.integers(1, 6),
    data=st.data(),
)
def test_no_row_sees_another_of_its_second(
    events: list[tuple[int, int, bool]], length: int, data: st.DataObject
) -> None:
    """Many positives at one second: a row knows of those strictly earlier, and of no other."""
    context = data.draw(st.integers(0, length - 1))
    events = sorted(events, key=lambda event: event[:2])
    status = [Status.TRAIN if is_label else Status.NOT_POSITIVE for _, _, is_label in events]
    users = pl.Series(["u0", "u1", "u2"])
    ids = [f"v{number}" for number in range(len(events))]
    line = Timeline(
        pl.DataFrame(
            {
                USER_ID: [f"u{user}" for user, _, _ in events],
                VIDEO_ID: ids,
                TIMESTAMP: np.array([time for _, time, _ in events], np.int64),
                STATUS: np.array(status, np.uint8),
            }
        ),
        users,
        pl.DataFrame({VIDEO_ID: ids, ITEM: np.arange(1, len(ids) + 1)}),
    )
    labels = np.flatnonzero(line.status == Status.TRAIN)
    moments = line.strictly_before(line.user[labels], line.time[labels])
    found = sequences_of(line, moments, length=length, context=context)

    history: dict[int, list[int]] = {}
    for each, items in zip(found.hashes.tolist(), found.item.to_list(), strict=True):
        history[each] = history.get(each, []) + items
    for row, (label, each) in enumerate(zip(labels, found.hashes.tolist(), strict=True)):
        user, time = line.user[label], line.time[label]
        known = [
            int(line.item[i]) for i in line.positive if line.user[i] == user and line.time[i] < time
        ]
        mine = history[each][: found.end[row]]
        assert mine == known[len(known) - len(mine) :]
        assert len(mine) >= min(len(known), context + 1)
        assert len(mine) == len(known) or len(known) > length
        assert len(history[each]) <= length


def test_context_must_leave_room_for_a_row() -> None:
    with pytest.raises(UserError, match=r"config.data.sequence_context: found 4, expected below"):
        config_of(small_data(form=Form.SEQUENCE, sequence_context=LENGTH))
