"""Candidates and weights, against a reference that goes through every draw of every row."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Correction, Duplicates, Frequency, LossKind
from configs.schema import Loss as LossConfig
from trainer.losses import make_loss
from trainer.negatives import Negatives

ITEMS, ROWS, UNIFORM, MEMORY, IMPRESSED, HISTORY, DIM, TEMPERATURE = 30, 16, 8, 12, 3, 4, 6, 0.2


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A batch drawn as the input pipeline draws it: positives by q, then uniform negatives."""

    q: np.ndarray
    user_share: np.ndarray
    user: np.ndarray
    positive: np.ndarray
    uniform: np.ndarray
    impressed: np.ndarray  # [ROWS, IMPRESSED], -1 for none
    users: np.ndarray  # vectors of rows
    items: np.ndarray  # vectors by item
    history: np.ndarray  # -1 for none
    memory_item: np.ndarray  # empty without
    memory_user: np.ndarray
    memory_vector: np.ndarray
    row_day: np.ndarray
    upload_day: np.ndarray  # by item

    def later(self, row: int) -> set[int]:
        """What was uploaded after the row's day."""
        return set(np.flatnonzero(self.upload_day > self.row_day[row]).tolist())


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def draw(seed: int, *, users: int = 10, memory: int = 0) -> Draws:
    rng = np.random.default_rng(seed)
    q = 1 / np.arange(1, ITEMS + 1)
    q /= q.sum()
    known = 6  # item 0..5 may have been impressed: some are drawn too, some are the user's own
    return Draws(
        q=q,
        user_share=rng.dirichlet(np.ones(users)),
        user=rng.integers(0, users, ROWS),
        positive=rng.choice(ITEMS, ROWS, p=q),
        uniform=rng.integers(0, ITEMS, UNIFORM),
        impressed=np.where(
            rng.random((ROWS, IMPRESSED)) < 0.7,
            np.array([rng.permutation(known)[:IMPRESSED] for _ in range(ROWS)]),
            -1,
        ),
        users=unit(rng, ROWS, DIM),
        items=unit(rng, ITEMS, DIM),
        history=rng.integers(-1, ITEMS // 2, (ROWS, HISTORY)),  # now and then the positive too
        memory_item=rng.choice(ITEMS, memory, p=q),
        memory_user=rng.integers(0, users, memory),
        memory_vector=unit(rng, memory, DIM),
        row_day=rng.integers(0, 3, ROWS),
        upload_day=rng.integers(-4, 3, ITEMS),  # a third or so are later than some row
    )


def own_items(d: Draws, row: int, *, with_memory: bool) -> set[int]:
    """The known positives of a row's user."""
    own = {int(d.positive[r]) for r in range(ROWS) if d.user[r] == d.user[row]}
    if with_memory:
        mine = d.memory_user == d.user[row]
        own |= set(d.memory_item[mine].tolist())
    return own


def had_before(d: Draws, row: int) -> set[int]:
    """What no request of a row's user is answered with."""
    return {int(i) for i in d.history[row] if i >= 0}


def inputs_of(d: Draws, config: LossConfig) -> dict[str, tf.Tensor]:
    """What the input pipeline gives; catalog ids are items + 1."""
    in_batch = d.positive if config.in_batch_negatives else d.positive[:0]
    first = list(dict.fromkeys([*d.positive, *d.uniform]))
    copies = Counter([*in_batch, *d.uniform])
    beyond = [i for i in dict.fromkeys(d.impressed.flat) if i >= 0 and i not in first]
    candidates = first + (beyond if config.impressed_negatives else [])
    column = {item: index for index, item in enumerate(candidates)}
    own = [own_items(d, row, with_memory=False) for row in range(ROWS)]
    shown = [
        [i if i in column and i not in own[row] else -1 for i in d.impressed[row]]
        for row in range(ROWS)
    ]
    batch = {
        "candidate_item": np.array(candidates, np.int64) + 1,
        "candidate_copies": np.array([copies[i] for i in first], np.float32),
        "candidate_share": d.q[first].astype(np.float32),
        "positive_index": np.array([column[i] for i in d.positive], np.int64),
        "masked": np.array(
            [
                (r, column[i])
                for r in range(ROWS)
                for i in [*own[r], *had_before(d, r)]  # twice where it is both
                if column.get(i, len(first)) < len(first)
            ],
            np.int64,
        ),
        "had_before": np.array([(r, i + 1) for r in range(ROWS) for i in had_before(d, r)]),
        "rows_of_user": np.array([(d.user == u).sum() for u in d.user], np.float32),
        "row_day": d.row_day.astype(np.int64),
        "user": d.user.astype(np.int64) + 500,
        "user_share": d.user_share[d.user].astype(np.float32),
        "impressed_index": np.array(
            [[column[i] if i >= 0 else -1 for i in each] for each in shown], np.int64
        ),
        "impressed_masked": np.array(
            [
                (r, column[i])
                for r in range(ROWS)
                for i in shown[r]
                if i >= 0 and column[i] < len(first)
            ],
            np.int64,
        ).reshape(-1, 2),
    }
    if not config.impressed_negatives:
        del batch["impressed_index"], batch["impressed_masked"]
    return {name: tf.constant(value) for name, value in batch.items()}


def empty_negatives(d: Draws, config: LossConfig) -> Negatives:
    upload_day = np.concatenate([[0], d.upload_day]).astype(np.int64)
    return Negatives(config, dim=DIM, num_items=ITEMS, upload_day=upload_day, seed=0)


def negatives_of(d: Draws, config: LossConfig) -> Negatives:
    made = empty_negatives(d, config)
    if made.memory is not None:
        made.memory.push(
            vector=tf.constant(d.memory_vector),
            item=tf.constant(d.memory_item + 1),
            user=tf.constant(d.memory_user + 500),
            share=tf.constant(d.q[d.memory_item], tf.float32),
        )
    return made


def by_library(d: Draws, config: LossConfig, dtype: tf.DType = tf.float32) -> list[np.ndarray]:
    """Losses of each direction."""
    inputs = inputs_of(d, config)
    items = tf.gather(tf.constant(d.items), inputs["candidate_item"] - 1)
    scores = negatives_of(d, config).score(
        tf.cast(d.users, dtype),
        tf.cast(items, dtype),
        inputs,
        temperature=tf.constant(TEMPERATURE),
        use_memory=tf.constant(True),
    )
    return [make_loss(config)(each).numpy() for each in scores]


def by_definition(d: Draws, config: LossConfig) -> np.ndarray:
    """Draw by draw, in float64: what each row's positive is told apart from."""
    in_batch, memory = config.in_batch_negatives, len(d.memory_item) > 0
    rows = ROWS * in_batch + len(d.memory_item)
    losses = []
    for row in range(ROWS):
        own = own_items(d, row, with_memory=memory)
        own_rows = in_batch * (d.user == d.user[row]).sum()
        own_rows += (d.memory_user == d.user[row]).sum()
        shown = set()
        if config.impressed_negatives:
            shown = {int(i) for i in d.impressed[row] if i >= 0} - own

        def expected(item: int, others: int) -> float:
            if config.duplicates is Duplicates.KEPT:
                return others * d.q[item] + UNIFORM / ITEMS
            return 1 - (1 - d.q[item]) ** others * (1 - 1 / ITEMS) ** UNIFORM

        def weight(item: int) -> float:
            match config.correction:
                case Correction.EXPECTED_COUNT:
                    return 1 / expected(item, rows - own_rows)  # noqa: B023
                case Correction.LOGQ:
                    return 1 / expected(item, rows)
                case Correction.NONE:
                    return 1.0

        drawn = [(i, d.items[i]) for i in (*(d.positive if in_batch else ()), *d.uniform)]
        drawn += list(zip(d.memory_item, d.memory_vector, strict=True))
        copies = Counter(int(item) for item, _ in drawn)
        score = d.users[row].astype(np.float64) / TEMPERATURE
        positive = np.exp(score @ d.items[d.positive[row]])
        if config.correction is Correction.LOGQ:
            positive *= weight(d.positive[row])
        total = positive
        for item, vector in drawn:
            if int(item) in own | shown | had_before(d, row) | d.later(row):
                continue
            once = copies[int(item)] if config.duplicates is Duplicates.REMOVED else 1
            total += np.exp(score @ vector) * weight(item) / once
        total += sum(np.exp(score @ d.items[i]) for i in shown)
        losses.append(-np.log(positive / total))
    return np.array(losses)


MIXES = {
    "in-batch and uniform": {},
    "uniform only": {"in_batch_negatives": False},
    "with impressed": {"impressed_negatives": IMPRESSED},
    "with memory": {"memory_size": MEMORY},
    "all": {"impressed_negatives": IMPRESSED, "memory_size": MEMORY},
    "memory and uniform": {"in_batch_negatives": False, "memory_size": MEMORY},
}


def config_of(mix: str, **more: object) -> LossConfig:
    return LossConfig(**({"uniform_negatives": UNIFORM} | MIXES[mix] | more))


@pytest.mark.parametrize("users", [1, 4, 1_000])
@pytest.mark.parametrize("duplicates", list(Duplicates))
@pytest.mark.parametrize("correction", list(Correction))
@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_equals_its_definition(
    mix: str, correction: Correction, duplicates: Duplicates, users: int
) -> None:
    config = config_of(mix, correction=correction, duplicates=duplicates)
    d = draw(3, users=users, memory=config.memory_size)
    np.testing.assert_allclose(by_library(d, config)[0], by_definition(d, config), rtol=5e-5)


@pytest.mark.parametrize("mix", ["in-batch and uniform", "all"])
def test_items_of_no_known_day_are_negatives_of_every_row(mix: str) -> None:
    config = config_of(mix)
    d = draw(3, users=4, memory=config.memory_size)
    always = replace(d, upload_day=np.zeros_like(d.upload_day))
    expected = by_definition(always, config)
    np.testing.assert_allclose(by_library(always, config)[0], expected, rtol=5e-5)
    assert not np.allclose(expected, by_definition(d, config))


def test_the_mixes_differ() -> None:
    """Or the test above would say nothing."""
    configs = [config_of(mix) for mix in MIXES]
    configs += [config_of("all", duplicates=Duplicates.REMOVED)]
    found = [by_definition(draw(3, users=4, memory=c.memory_size), c) for c in configs]
    assert len({tuple(each.round(6)) for each in found}) == len(configs)


def test_the_memory_waits_until_it_may_be_used() -> None:
    config = config_of("with memory")
    d = draw(5, memory=MEMORY)
    inputs = inputs_of(d, config)
    items = tf.gather(tf.constant(d.items), inputs["candidate_item"] - 1)
    arguments = (tf.constant(d.users), items, inputs)
    made = negatives_of(d, config)
    early = made.score(*arguments, temperature=tf.constant(TEMPERATURE), use_memory=False)
    without = replace(d, memory_item=d.memory_item[:0], memory_user=d.memory_user[:0])
    without = replace(without, memory_vector=d.memory_vector[:0])
    expected = by_definition(without, config_of("in-batch and uniform"))
    np.testing.assert_allclose(make_loss(config)(early[0]), expected, rtol=5e-5)
    # Meanwhile it took in this batch: the newest rows, with the vectors that they had.
    kept = d.positive[-MEMORY:] + 1
    slots = (MEMORY + np.arange(ROWS)) % MEMORY
    by_slot = dict(zip(slots, d.positive + 1, strict=True))
    assert sorted(made.memory.item.numpy()) == sorted(kept)
    np.testing.assert_array_equal(made.memory.item, [by_slot[s] for s in range(MEMORY)])
    np.testing.assert_allclose(made.memory.vector, d.items[made.memory.item.numpy() - 1])


def test_users_learn_from_the_memory_and_items_from_what_learns() -> None:
    """Or items would be pulled to users by one loss and hardly pushed from them by it."""
    d = draw(5, memory=MEMORY)

    def gradients(mix: str, of: int) -> list[np.ndarray | None]:
        config = config_of(mix)
        inputs = inputs_of(d, config)
        users = tf.Variable(d.users)
        items = tf.Variable(tf.gather(tf.constant(d.items), inputs["candidate_item"] - 1))
        made = negatives_of(d, config)
        with tf.GradientTape() as tape:
            scores = made.score(
                users, items, inputs, temperature=tf.constant(TEMPERATURE), use_memory=True
            )
            loss = make_loss(config)(scores[of])
        found = tape.gradient(loss, [users, items])
        return [None if each is None else tf.convert_to_tensor(each).numpy() for each in found]

    of_users, no_items = gradients("with memory", 0)
    no_users, of_items = gradients("with memory", 1)
    users, items = gradients("in-batch and uniform", 0)
    assert no_users is None and no_items is None
    np.testing.assert_allclose(of_items, items, rtol=1e-5)
    assert of_users is not None and not np.allclose(of_users, users, rtol=0.01)


@pytest.mark.parametrize("correction", list(Correction))
@pytest.mark.parametrize("users", [2, 6, 1_000])
def test_symmetric_by_definition(correction: Correction, users: int) -> None:
    """Users for each item: who likes it or had it is masked, others stand for users by share."""
    d = draw(11, users=users)
    config = config_of("in-batch and uniform", symmetric=True, correction=correction)
    found = by_library(d, config)
    assert len(found) == 2
    np.testing.assert_allclose(found[0], by_definition(d, config), rtol=5e-5)
    losses = []
    for row in range(ROWS):
        item = d.positive[row]
        likers = {d.user[r] for r in range(ROWS) if d.positive[r] == item}
        rows_of_item = (d.positive == item).sum()
        weights = {
            Correction.EXPECTED_COUNT: 1 / ((ROWS - rows_of_item) * d.user_share + 1e-300),
            Correction.LOGQ: 1 / (ROWS * d.user_share),
            Correction.NONE: np.ones(users),
        }[correction]
        exp = np.exp(d.users.astype(np.float64) @ d.items[item] / TEMPERATURE)
        positive = exp[row]
        if correction is Correction.LOGQ:
            positive *= weights[d.user[row]]
        others = [
            r
            for r in range(ROWS)
            if d.user[r] not in likers and item not in had_before(d, r) | d.later(r)
        ]
        total = positive + sum(exp[r] * weights[d.user[r]] for r in others)
        losses.append(-np.log(positive / total))
    np.testing.assert_allclose(found[1], losses, rtol=5e-5)


@pytest.mark.parametrize("kind", list(LossKind))
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_vectors_in_half_precision(kind: LossKind, dtype: tf.DType) -> None:
    config = config_of("all", kind=kind, label_smoothing=0.1)
    d = draw(9, memory=MEMORY)
    half, full = by_library(d, config, dtype)[0], by_library(d, config)[0]
    assert half.dtype == np.float32 and np.isfinite(half).all()
    np.testing.assert_allclose(half, full, atol=0.1)


def test_shares_may_be_estimated() -> None:
    """With the streaming estimator the counted shares are not looked at."""
    config = config_of("in-batch and uniform", frequency=Frequency.STREAMING)
    last = draw(299)
    made = empty_negatives(last, config)
    losses = []
    for seed in range(300):
        d = replace(draw(seed), upload_day=last.upload_day)
        inputs = inputs_of(d, config)
        inputs["candidate_share"] = tf.fill(inputs["candidate_share"].shape, float("nan"))
        items = tf.gather(tf.constant(d.items), inputs["candidate_item"] - 1)
        scores = made.score(
            tf.constant(d.users), items, inputs, temperature=tf.constant(TEMPERATURE)
        )
        losses.append(make_loss(config)(scores[0]).numpy())
    np.testing.assert_allclose(losses[-1], by_definition(d, config), rtol=0.1)
