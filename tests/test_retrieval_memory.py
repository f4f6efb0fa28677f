"""Scoring streams: memory does not grow with queries times items."""

import pytest

from tests.commands import said_by

_SCRIPT = """
import resource
import sys

import numpy as np

from trainer.queries import Queries, Ragged
from trainer.retrieval import DotProductScorer, top_k

num_items, num_queries, dim = map(int, sys.argv[1:])
draw = np.random.default_rng(0)
empty = Ragged.from_lists([[]] * num_queries)
seen = draw.integers(1, num_items, 50 * num_queries)
queries = Queries(
    user_id=np.arange(num_queries).astype(str),
    as_of=np.full(num_queries, 10),
    history=empty,
    history_time=empty,
    seen=Ragged.from_lengths(seen, np.full(num_queries, 50)),
    relevant=empty,
)
scorer = DotProductScorer(
    query_embedding=draw.standard_normal((num_queries, dim), dtype=np.float32),
    item_embedding=draw.standard_normal((num_items, dim), dtype=np.float32),
)
available = draw.integers(0, 12, num_items)
before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lists, scores = top_k(scorer, queries, k=200, available=available, exclude_seen=True)
assert lists.min() > 0 and np.all(np.diff(scores, axis=1) <= 0)
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(before_kib * 1024, peak_kib * 1024)
"""


def peak_bytes(*, num_items: int, num_queries: int, dim: int) -> tuple[int, int]:
    """The process's most memory before scoring, and in all."""
    (line,) = said_by(_SCRIPT, str(num_items), str(num_queries), str(dim), timeout_s=1_500)
    before, peak = map(int, line.split())
    return before, peak


def test_a_block_of_scores_is_all_that_is_held() -> None:
    num_items, num_queries = 200_000, 1_500
    before, peak = peak_bytes(num_items=num_items, num_queries=num_queries, dim=8)
    all_scores = 4 * num_items * num_queries
    assert all_scores > 2**30
    assert peak - before < all_scores / 2


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_million_items_and_ten_thousand_queries_within_four_gib() -> None:
    _, peak = peak_bytes(num_items=1_000_000, num_queries=10_000, dim=128)
    assert peak < 4 * 2**30
