"""What users watched, made by hand, and what a baseline answers to it."""

import numpy as np

from tests.queries import queries_of
from trainer.queries import Interactions, Queries, Ragged
from trainer.retrieval import top_k

DAY = 86_400
SIDE = 20
ALL = slice(0, 2**20)  # of the catalog, as slices go


def interactions_of(
    sequences: list[list[int]], *, num_items: int, times: list[list[int]] | None = None
) -> Interactions:
    """One sequence of items a user, a second apart unless told."""
    items = Ragged.from_lists(sequences)
    moments = Ragged.from_lists(times or [list(range(len(row))) for row in sequences])
    return Interactions(
        user=items.row_of_value,
        item=items.values,
        time=moments.values,
        num_users=len(sequences),
        num_items=num_items,
        end_time=int(moments.values.max(initial=0)) + 1,
    )


def asking(histories: list[list[int]], relevant: list[list[int]] | None = None) -> Queries:
    """Users who have seen what is in their histories ask on day 100."""
    relevant = relevant or [[]] * len(histories)
    return queries_of(relevant, as_of=100 * DAY, history=histories, seen=histories)


def lists_of(baseline, histories: list[list[int]], k: int, *, num_items: int) -> list[list[int]]:
    available = np.zeros(num_items, dtype=np.int64)
    queries = asking(histories)
    return top_k(baseline, queries, k=k, available=available, exclude_seen=True)[0].tolist()


def scores_of(baseline, histories: list[list[int]]) -> np.ndarray:
    return baseline.score(asking(histories), rows=slice(0, len(histories)), items=ALL)


def checkerboard() -> list[list[int]]:
    """User u watches, in a circle from u + 2 on, every other item; u + 1 itself is withheld.

    Items are 1 to SIDE, so user u's own colour holds u + 1, which all users of the colour but u
    have; nothing of the other colour goes with it.
    """
    return [[(u + 2 * step) % SIDE + 1 for step in range(1, SIDE // 2)] for u in range(SIDE)]
