"""What a correction is worth to one who knows the rest."""

import numpy as np
import pytest

from benchmarks.correction_bound import Uncorrected, run
from configs import smoke, streamrec
from configs.errors import UserError
from configs.simulation import ShortVideoSimulation
from tests.queries import queries_of
from tests.quiet import QUIET
from trainer.queries import Queries
from trainer.retrieval import Float32Array

_PROBABILITY = np.array([[0.1, 0.2, 0.4], [0.5, 0.0, 0.8]], np.float32)
_COUNT = np.array([1.0, 4.0, 8.0])


class Fixed:
    """Given scores."""

    def __init__(self, scores: Float32Array) -> None:
        self._scores = scores

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `Scorer`."""
        return self._scores[rows, items]


def test_scores_tend_to_likelihood_over_share() -> None:
    queries = queries_of([[1], [2]], as_of=0)
    rows, items = slice(0, 2), slice(1, 3)
    with np.errstate(divide="ignore"):
        logs = np.log(_PROBABILITY)
    for scores, is_log in ((_PROBABILITY, False), (logs, True)):
        found = Uncorrected(Fixed(scores), _COUNT, is_log=is_log).score(
            queries, rows=rows, items=items
        )
        np.testing.assert_allclose(np.exp(found), [[0.05, 0.05], [0.0, 0.1]], atol=1e-6)


def test_every_scorer_is_held_against_itself() -> None:
    config = smoke.get_config()
    config.simulation = ShortVideoSimulation(users=100, videos=200, creators=20)
    ratios = run(config, QUIET)["corrected_over_uncorrected"]
    assert len(ratios) == 4 * 2 * 2
    found = ratios["fitted taste, mixture; the whole log; 0.5"]
    assert set(found) == {"HR@10", "Recall@100"}
    assert found["Recall@100"] > 1


def test_it_needs_known_videos() -> None:
    with pytest.raises(UserError, match=r"config\.simulation: found the StreamRec generator"):
        run(streamrec.get_config(), QUIET)
