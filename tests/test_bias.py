"""The sampled softmax has the gradient of the full one, whatever the mix of its negatives."""

import numpy as np
import pytest

from benchmarks.loss_bias import MIXES, Error, measure
from configs.schema import Correction

BATCHES = {"in-batch": 400, "impressed": 400, "deduplicated": 400}


def found(mix: str, correction: Correction, *, batches: int) -> list[Error]:
    return list(measure(mix, correction, deviation=1.0, batches=batches))


@pytest.mark.parametrize("mix", MIXES)
def test_expected_count_has_the_gradient_of_the_full_softmax(mix: str) -> None:
    """Head and tail positives of likelihood .05, .5 and .9; logits of standard deviation 1."""
    errors = found(mix, Correction.EXPECTED_COUNT, batches=BATCHES.get(mix, 120))
    assert len(errors) == 6
    for error in errors:
        assert error.positive_se < 0.003, error
        assert abs(error.positive) < 0.01, error
        assert error.gradient < 0.01, error


@pytest.mark.parametrize("correction", [Correction.LOGQ, Correction.NONE])
def test_the_others_have_not(correction: Correction) -> None:
    errors = found("in-batch", correction, batches=60)
    assert max(abs(error.positive) for error in errors) > 0.1
    assert np.mean([error.gradient for error in errors]) > 0.1
