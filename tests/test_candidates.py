"""Candidates of a batch, against a reference that goes through its rows."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.columns import NEGATIVE_ITEM
from trainer.candidates import Sampling, candidates_of
from trainer.records import SEQUENCE_ROWS
from trainer.shares import OverallShares

ITEMS, ROWS, UNIFORM = 20, 12, 7
KNOWN = 18  # the last two came after train


def rows(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "user_id": rng.choice([b"ann", b"bob", b"cy", b"dee", b"eve"], ROWS),
        "item": rng.integers(1, KNOWN + 1, ROWS),
        "day": rng.integers(100, 103, ROWS),
        "weight": rng.random(ROWS).astype(np.float32),
        NEGATIVE_ITEM: rng.integers(-1, KNOWN + 1, (ROWS, 4)),
    }


def sampling(**changes: Any) -> Sampling:
    plain: dict[str, Any] = {
        "shares": OverallShares(np.arange(ITEMS + 1)),
        "train_rows": sum(range(ITEMS + 1)),
        "num_known": KNOWN,
        "in_batch": True,
        "uniform": UNIFORM,
        "impressed": 0,
        "mask_user": True,
        "mask_history": False,
        "remembers": False,
        "user_count": None,
        "by_day": True,
        "upload_day": np.zeros(ITEMS + 1, np.int64),
    }
    return Sampling(**(plain | changes))


def candidates(batch: dict[str, np.ndarray], how: Sampling) -> dict[str, np.ndarray]:
    history = tf.constant(np.random.default_rng(0).integers(-1, ITEMS, (ROWS, 3)))
    rows = {n: tf.constant(v) for n, v in batch.items()} | {"history_item": history}
    found = candidates_of(rows, "history_item", how, tf.constant([3, 4], tf.int64))
    found["history"] = history
    return {name: value.numpy() for name, value in found.items()}


def dense(pairs: np.ndarray, found: dict[str, np.ndarray]) -> np.ndarray:
    """Pairs as bool [ROWS, C]."""
    mask = np.zeros((ROWS, len(found["candidate_copies"])), bool)
    mask[tuple(pairs.T)] = True
    return mask


def liked(batch: dict[str, np.ndarray], row: int) -> set[int]:
    """What the row's user likes in this batch."""
    return set(batch["item"][batch["user_id"] == batch["user_id"][row]].tolist())


@pytest.mark.parametrize("by_day", [False, True])
@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("impressed", [0, 3])
@pytest.mark.parametrize("uniform", [0, UNIFORM, None])
def test_candidates(by_day: bool, in_batch: bool, impressed: int, uniform: int | None) -> None:
    batch = rows(1)
    how = sampling(by_day=by_day, in_batch=in_batch, impressed=impressed, uniform=uniform)
    found = candidates(batch, how)
    item, day, copies = (found[f"candidate_{n}"] for n in ("item", "day", "copies"))
    columns = len(copies)
    assert len({*zip(item, day, strict=True)}) == len(item)
    assert (day == 0).all() if not by_day else set(day) <= set(batch["day"])

    # Each row's positive, and its day.
    at = found["positive_index"]
    np.testing.assert_array_equal(item[at], batch["item"])
    if by_day:
        np.testing.assert_array_equal(day[at], batch["day"])
    # What is left of the copies, when the batch's own are taken off, was drawn uniformly.
    drawn = copies.astype(int) - (np.bincount(at, minlength=columns) if in_batch else 0)
    assert drawn.min() >= 0 and drawn.sum() == (KNOWN if uniform is None else uniform)
    if uniform is None:
        assert Counter(np.repeat(item[:columns], drawn)) == Counter(range(1, KNOWN + 1))
    assert item.max() <= KNOWN
    np.testing.assert_allclose(found["candidate_share"], item[:columns] / how.train_rows)

    masked = dense(found["masked"], found)
    for row in range(ROWS):
        np.testing.assert_array_equal(masked[row], np.isin(item[:columns], [*liked(batch, row)]))
    same = batch["user_id"][:, None] == batch["user_id"]
    np.testing.assert_array_equal(found["rows_of_user"], same.sum(1))
    np.testing.assert_array_equal(found["user"][:, None] == found["user"], same)
    np.testing.assert_array_equal(found["weight"], batch["weight"])
    np.testing.assert_array_equal(found["row_day"], batch["day"])

    distinct = found["distinct_item"]
    np.testing.assert_array_equal(distinct[found["candidate_index"]], item)
    np.testing.assert_array_equal(distinct[found["history_index"]], found["history"])
    np.testing.assert_array_equal(found["history_mask"], found["history"] >= 0)

    assert ("impressed_index" in found) == bool(impressed)
    if not impressed:
        assert columns == len(item)
        return
    also_masked = dense(found["impressed_masked"], found)
    some = 0
    for row in range(ROWS):
        shown = batch[NEGATIVE_ITEM][row, :impressed]
        expected = np.where((shown > 0) & ~np.isin(shown, [*liked(batch, row)]), shown, -1)
        index = found["impressed_index"][row]
        np.testing.assert_array_equal(np.where(index >= 0, item[index], -1), expected)
        if by_day:
            assert (day[index[index >= 0]] == batch["day"][row]).all()
        np.testing.assert_array_equal(
            also_masked[row], np.isin(item[:columns], expected[expected > 0])
        )
        some += (expected > 0).sum()
    assert some > ROWS and len(item) > columns or uniform is None


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("uniform", [UNIFORM, None])
def test_what_is_in_a_rows_history_is_masked(uniform: int | None, remembers: bool) -> None:
    batch = rows(1)
    found = candidates(batch, sampling(mask_history=True, uniform=uniform, remembers=remembers))
    masked, history = dense(found["masked"], found), found["history"]
    item = found["candidate_item"][: masked.shape[1]]
    for row in range(ROWS):
        had = [each for each in history[row] if each >= 0]
        expected = np.isin(item, [*liked(batch, row), *had])
        np.testing.assert_array_equal(masked[row], expected)
    at = found["masked"][:, 0]
    assert (np.diff(at) >= 0).all(), "in order of rows, which the full softmax cuts them by"
    assert ("had_before" in found) == remembers
    if remembers:
        pairs = [(row, each) for row in range(ROWS) for each in history[row] if each >= 0]
        assert found["had_before"].tolist() == [[*pair] for pair in pairs]


def test_of_a_sequence_what_is_before_the_row_is_masked() -> None:
    batch = rows(1)
    lengths, ends = [5, 0, ROWS - 5], np.arange(ROWS) % 4
    history = np.random.default_rng(0).integers(0, ITEMS, (3, 4))
    history[0, 3:] = -1
    ends[:5] = np.minimum(ends[:5], 3)
    found = candidates_of(
        {name: tf.constant(value) for name, value in batch.items()}
        | {
            "history_item": tf.constant(history),
            "history_item#end": tf.constant(ends),
            SEQUENCE_ROWS: tf.constant(lengths, tf.int64),
        },
        "history_item", sampling(mask_history=True, mask_user=False),
        tf.constant([3, 4], tf.int64),
    )  # fmt: skip
    found = {name: value.numpy() for name, value in found.items()}
    masked = dense(found["masked"], found)
    item = found["candidate_item"][: masked.shape[1]]
    for row in range(ROWS):
        had = history[0 if row < 5 else 2, : ends[row]]
        expected = np.isin(item, [batch["item"][row], *had])
        np.testing.assert_array_equal(masked[row], expected)
    assert masked.sum() > 2 * ROWS


def test_uniform_items_are_as_of_any_day_on_which_they_exist() -> None:
    batch = rows(1) | {"day": np.array([100] * 6 + [101] * 2 + [102] * 4)}
    upload_day = np.zeros(ITEMS + 1, np.int64)
    upload_day[1:5] = 100, 101, 102, 103
    how = sampling(in_batch=False, uniform=60_000, upload_day=upload_day)
    found = candidates(batch, how)
    copies = dict.fromkeys([(i, d) for i in range(1, KNOWN + 1) for d in (100, 101, 102)], 0.0)
    columns = len(found["candidate_copies"])
    keys = zip(found["candidate_item"][:columns], found["candidate_day"][:columns], strict=True)
    for key, count in zip(keys, found["candidate_copies"], strict=True):
        copies[key] += count
    of_item = {i: np.array([copies[i, d] for d in (100, 101, 102)]) for i in range(1, KNOWN + 1)}
    rows_of_day = {1: (6, 2, 4), 2: (0, 2, 4), 3: (0, 0, 4), 4: (0, 0, 4), 5: (6, 2, 4)}
    for item, expected in rows_of_day.items():
        share = np.array(expected) / sum(expected)
        np.testing.assert_array_equal(of_item[item][share == 0], 0)
        np.testing.assert_allclose(of_item[item] / of_item[item].sum(), share, atol=0.04)
    # As often as any other, whenever it came: what the correction counts on.
    totals = np.array([each.sum() for each in of_item.values()])
    np.testing.assert_allclose(totals, 60_000 / KNOWN, rtol=0.1)


def test_shares_of_users() -> None:
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer([b"ann", b"bob"], [30.0, 12.0]), 0.0
    )
    batch = rows(2)
    found = candidates(batch, sampling(user_count=table))
    expected = [{b"ann": 30, b"bob": 12}.get(user, 0) / 210 for user in batch["user_id"]]
    np.testing.assert_allclose(found["user_share"], expected, rtol=1e-6)
    assert max(expected) > 0
