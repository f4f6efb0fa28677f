"""Queries made by hand."""

import numpy as np

from trainer.queries import Queries, Ragged

Lists = list[list[int]]


def queries_of(
    relevant: Lists,
    *,
    as_of: int | list[int],
    history: Lists | None = None,
    seen: Lists | None = None,
) -> Queries:
    """A query for each list, of another user each; nothing was watched or seen unless given."""
    empty: Lists = [[]] * len(relevant)
    items = Ragged.from_lists(history or empty)
    moments = [as_of] * len(relevant) if isinstance(as_of, int) else as_of
    return Queries(
        user_id=np.array([f"u_{index}" for index in range(len(relevant))]),
        as_of=np.array(moments, dtype=np.int64),
        history=items,
        history_time=Ragged.from_lengths(np.zeros_like(items.values), items.lengths),
        seen=Ragged.from_lists(seen or empty),
        relevant=Ragged.from_lists(relevant),
    )
