"""The contract of every loss, and what each is by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Loss as LossConfig
from configs.schema import LossKind
from trainer.losses import MASKED, BinaryCrossEntropy, Loss, Scores, make_loss

ROWS, COLUMNS, TEMPERATURE, MARGIN, SMOOTHING, BIAS = 5, 7, 0.1, 0.3, 0.1, -0.7

Arrays = dict[str, np.ndarray]


def arrays(seed: int = 0) -> Arrays:
    """A batch; row 0 has one negative masked, row 1 all but one, row 2 all."""
    rng = np.random.default_rng(seed)
    log_weight = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    log_weight[0, 3] = log_weight[1, 1:] = log_weight[2] = MASKED
    return {
        "positive": rng.normal(2, 3, ROWS).astype(np.float32),
        "negatives": rng.normal(0, 3, (ROWS, COLUMNS)).astype(np.float32),
        "log_weight": log_weight,
        "positive_log_weight": np.zeros(ROWS, np.float32),
        "temperature": np.float32(TEMPERATURE),
    }


def scores(of: Arrays) -> Scores:
    return Scores(**{name: tf.convert_to_tensor(value) for name, value in of.items()})


def make(kind: LossKind, smoothing: float = 0.0) -> Loss:
    loss = make_loss(LossConfig(kind=kind, margin=MARGIN, label_smoothing=smoothing))
    if isinstance(loss, BinaryCrossEntropy):
        loss.bias.assign(BIAS)
    return loss


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(-abs(x))) + max(x, 0))


def softmax_by_hand(positive: float, negatives: list[tuple[float, float]]) -> float:
    return -np.log(np.exp(positive) / (np.exp(positive) + sum(w * np.exp(s) for s, w in negatives)))


def smoothed_by_hand(positive: float, negatives: list[tuple[float, float]]) -> float:
    """The target is 1 - e on the positive and e over the negatives by weight."""
    if not negatives:
        return softmax_by_hand(positive, negatives)
    total = np.exp(positive) + sum(w * np.exp(s) for s, w in negatives)
    weights = sum(w for _, w in negatives)
    return -(1 - SMOOTHING) * np.log(np.exp(positive) / total) - SMOOTHING * sum(
        w / weights * np.log(np.exp(s) / total) for s, w in negatives
    )


def mean(values: list[tuple[float, float]]) -> float:
    """Weighted mean of (value, weight); 0 of nothing."""
    return sum(v * w for v, w in values) / sum(w for _, w in values) if values else 0.0


def bce_by_hand(positive: float, negatives: list[tuple[float, float]]) -> float:
    sigmoid = 1 / (1 + np.exp(-(positive + BIAS)))
    return -np.log(sigmoid) + mean(
        [(-np.log(1 - 1 / (1 + np.exp(-(s + BIAS)))), w) for s, w in negatives]
    )


def bpr_by_hand(positive: float, negatives: list[tuple[float, float]]) -> float:
    return mean([(-np.log(1 / (1 + np.exp(s - positive))), w) for s, w in negatives])


def triplet_by_hand(positive: float, negatives: list[tuple[float, float]]) -> float:
    return mean([(max(0.0, MARGIN + TEMPERATURE * (s - positive)), w) for s, w in negatives])


ByHand = Callable[[float, list[tuple[float, float]]], float]
CASES: dict[str, tuple[LossKind, float, ByHand]] = {
    "sampled_softmax": (LossKind.SAMPLED_SOFTMAX, 0.0, softmax_by_hand),
    "sampled_softmax, smoothed": (LossKind.SAMPLED_SOFTMAX, SMOOTHING, smoothed_by_hand),
    "full_softmax": (LossKind.FULL_SOFTMAX, 0.0, softmax_by_hand),
    "bce": (LossKind.BCE, 0.0, bce_by_hand),
    "triplet": (LossKind.TRIPLET, 0.0, triplet_by_hand),
    "bpr": (LossKind.BPR, 0.0, bpr_by_hand),
}
each_loss = pytest.mark.parametrize("case", CASES)


def test_no_loss_is_without_a_case() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(LossKind)


def by_hand(of: Arrays, case: str) -> np.ndarray:
    """Row by row in float64, masked columns left out by hand."""
    losses = []
    for row in range(ROWS):
        negatives = [
            (float(s), float(np.exp(w)))
            for s, w in zip(of["negatives"][row], of["log_weight"][row].astype(float), strict=True)
            if w > MASKED / 2
        ]
        losses.append(CASES[case][2](float(of["positive"][row]), negatives))
    return np.array(losses)


@each_loss
def test_value_by_hand(case: str) -> None:
    kind, smoothing, _ = CASES[case]
    of = arrays()
    losses = make(kind, smoothing)(scores(of)).numpy()
    assert losses.shape == (ROWS,)
    np.testing.assert_allclose(losses, by_hand(of, case), rtol=2e-5, atol=1e-6)
    assert (losses >= 0).all()


@each_loss
def test_gradient_by_finite_differences(case: str) -> None:
    kind, smoothing, _ = CASES[case]
    loss, of = make(kind, smoothing), arrays(1)
    at = scores(of)
    with tf.GradientTape() as tape:
        tape.watch([at.positive, at.negatives])
        total = tf.reduce_sum(loss(at))
    gradients = tape.gradient(total, [at.positive, at.negatives], unconnected_gradients="zero")
    step = 1e-4
    for name, gradient in zip(("positive", "negatives"), gradients, strict=True):
        found = np.zeros(of[name].shape)
        for cell in np.ndindex(of[name].shape):
            sides = []
            for sign in (1, -1):
                moved = {n: np.array(v, np.float64) for n, v in of.items()}
                moved[name][cell] += sign * step
                sides.append(by_hand(moved, case).sum())
            found[cell] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradient.numpy(), found, atol=2e-4, err_msg=name)
        assert np.abs(found).max() > 0.01


@each_loss
def test_masked_candidates_have_no_influence(case: str) -> None:
    kind, smoothing, _ = CASES[case]
    loss, of = make(kind, smoothing), arrays()
    masked = of["log_weight"] < MASKED / 2
    assert masked.any()
    high = dict(of, negatives=np.where(masked, 80.0, of["negatives"]).astype(np.float32))
    np.testing.assert_array_equal(loss(scores(high)), loss(scores(of)))
    at = scores(high)
    with tf.GradientTape() as tape:
        tape.watch(at.negatives)
        total = tf.reduce_sum(loss(at))
    assert not tape.gradient(total, at.negatives).numpy()[masked].any()


@each_loss
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_finite_at_extreme_logits(case: str, scale: float) -> None:
    kind, smoothing, _ = CASES[case]
    of = arrays(2)
    at = scores(
        dict(of, positive=-scale * np.abs(of["positive"]), negatives=scale * of["negatives"])
    )
    with tf.GradientTape() as tape:
        tape.watch([at.positive, at.negatives])
        losses = make(kind, smoothing)(at)
    gradients = tape.gradient(losses, [at.positive, at.negatives], unconnected_gradients="zero")
    for each in (losses, *gradients):
        assert each.dtype == tf.float32
        assert np.isfinite(each).all()


def test_the_bias_of_bce_is_learnt() -> None:
    loss = make(LossKind.BCE)
    assert [v.name for v in loss.trainable_variables] == ["loss_bias:0"]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(scores(arrays())))
    assert abs(float(tape.gradient(total, loss.trainable_variables)[0])) > 0.1
