import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Correction
from trainer.losses import sampled_softmax

ITEMS, ROWS, UNIFORM = 30, 16, 8


def batch(seed: int, *, users: int = 10) -> dict[str, np.ndarray]:
    """A batch drawn as the input pipeline draws it: positives by q, then uniform negatives."""
    rng = np.random.default_rng(seed)
    q = 1 / np.arange(1, ITEMS + 1)
    q /= q.sum()
    positive = rng.choice(ITEMS, ROWS, p=q)
    user = rng.integers(0, users, ROWS)
    uniform = rng.integers(0, ITEMS, UNIFORM)
    candidates, copies = np.unique(np.concatenate([positive, uniform]), return_counts=True)
    masked = [
        (row, column)
        for row in range(ROWS)
        for column, item in enumerate(candidates)
        if any(user[other] == user[row] and positive[other] == item for other in range(ROWS))
    ]
    return {
        "scores": rng.normal(size=(ROWS, ITEMS)).astype(np.float32),
        "q": q,
        "positive": positive,
        "candidates": candidates,
        "positive_index": np.searchsorted(candidates, positive),
        "masked": np.array(masked, np.int64),
        "copies": copies.astype(np.float32),
        "rows_of_user": np.array([(user == each).sum() for each in user], np.float32),
        "user": user,
        "uniform": uniform,
    }


def by_library(b: dict[str, np.ndarray], correction: Correction, scores=None) -> tf.Tensor:
    scores = tf.constant(b["scores"]) if scores is None else scores
    return sampled_softmax(
        tf.gather(scores, b["candidates"], axis=1),
        positive_index=tf.constant(b["positive_index"]),
        masked=tf.constant(b["masked"]),
        copies=tf.constant(b["copies"]),
        share=tf.constant(b["q"][b["candidates"]], tf.float32),
        rows_of_user=tf.constant(b["rows_of_user"]),
        uniform=UNIFORM,
        num_items=ITEMS,
        correction=correction,
    )


def by_definition(b: dict[str, np.ndarray], correction: Correction) -> np.ndarray:
    """Row by row and draw by draw, duplicates kept, in float64."""
    drawn = np.concatenate([b["positive"], b["uniform"]])
    losses = []
    for row in range(ROWS):
        own = {b["positive"][other] for other in range(ROWS) if b["user"][other] == b["user"][row]}
        others = ROWS - (b["user"] == b["user"][row]).sum()
        scores = b["scores"][row].astype(np.float64)
        positive = scores[b["positive"][row]]
        logq = np.log(ROWS * b["q"] + UNIFORM / ITEMS)
        if correction is Correction.LOGQ:
            positive -= logq[b["positive"][row]]
        total = np.exp(positive)
        for item in drawn:
            if item in own:
                continue
            shift = {
                Correction.EXPECTED_COUNT: np.log(others * b["q"][item] + UNIFORM / ITEMS),
                Correction.LOGQ: logq[item],
                Correction.NONE: 0.0,
            }[correction]
            total += np.exp(scores[item] - shift)
        losses.append(np.log(total) - positive)
    return np.array(losses)


@pytest.mark.parametrize("correction", list(Correction))
@pytest.mark.parametrize("users", [1, 4, 1_000])
def test_equals_its_definition(correction: Correction, users: int) -> None:
    b = batch(3, users=users)
    np.testing.assert_allclose(by_library(b, correction), by_definition(b, correction), rtol=2e-5)


@pytest.mark.parametrize("correction", list(Correction))
def test_gradient_by_finite_differences(correction: Correction) -> None:
    b = batch(5)
    scores = tf.Variable(b["scores"])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(by_library(b, correction, scores))
    gradient = tf.convert_to_tensor(tape.gradient(loss, scores)).numpy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, item = rng.integers(ROWS), b["candidates"][rng.integers(len(b["candidates"]))]
        moved = dict(b, scores=b["scores"].astype(np.float64))
        step = np.zeros_like(moved["scores"])
        step[row, item] = 1e-4
        up = by_definition(dict(moved, scores=moved["scores"] + step), correction).sum()
        down = by_definition(dict(moved, scores=moved["scores"] - step), correction).sum()
        np.testing.assert_allclose(gradient[row, item], (up - down) / 2e-4, atol=2e-4)


def test_masked_candidates_have_no_influence() -> None:
    b = batch(7, users=3)
    hidden = b["scores"].copy()
    for row, column in b["masked"]:
        item = b["candidates"][column]
        if item != b["positive"][row]:
            hidden[row, item] = 50.0
    changed = by_library(dict(b, scores=hidden), Correction.EXPECTED_COUNT)
    assert not np.array_equal(hidden, b["scores"])
    np.testing.assert_array_equal(changed, by_library(b, Correction.EXPECTED_COUNT))


def test_finite_at_extreme_logits_and_in_half_precision() -> None:
    b = batch(9)
    for scores in (b["scores"] * 1e4, b["scores"].astype(np.float16)):
        loss = by_library(b, Correction.EXPECTED_COUNT, tf.constant(scores))
        assert loss.dtype == tf.float32
        assert np.isfinite(loss).all()


def normaliser_ratio(correction: Correction, *, batches: int, users: int) -> np.ndarray:
    """The estimated normaliser over the true one, mean over the rows of each batch: [batches].

    The true one is the sum of exp(score) over the items that are no positive of the row's user.
    Popular items score high, as they do in a trained model.
    """
    ratios = []
    for seed in range(batches):
        b = batch(seed + 100, users=users)
        b["scores"] = (0.3 * b["scores"] + np.log(b["q"] * ITEMS)).astype(np.float32)
        positive = b["scores"][np.arange(ROWS), b["positive"]]
        loss = by_library(b, correction).numpy()
        estimate = np.exp(loss + positive) - np.exp(positive)
        own = (b["user"][:, None] == b["user"]) @ np.eye(ITEMS)[b["positive"]] > 0
        truth = np.where(own, 0, np.exp(b["scores"])).sum(1)
        ratios.append((estimate / truth).mean())
    return np.array(ratios)


@pytest.mark.parametrize("users", [4, 1_000_000])
def test_expected_count_estimates_the_normaliser_without_bias(users: int) -> None:
    ratio = normaliser_ratio(Correction.EXPECTED_COUNT, batches=150, users=users)
    error = 4 * ratio.std() / np.sqrt(len(ratio))
    assert error < 0.05
    assert abs(ratio.mean() - 1) < error


def test_without_correction_the_normaliser_is_biased() -> None:
    assert abs(normaliser_ratio(Correction.NONE, batches=50, users=1_000_000).mean() - 1) > 0.3
