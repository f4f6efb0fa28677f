"""Ranked lists made elsewhere (an oracle, a system now live), measured like a model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from configs.errors import UserError
from trainer.catalog import Catalog
from trainer.queries import Int64Array, Queries
from trainer.retrieval import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListScorer:
    """Scores what a user's list holds by its rank; nothing else is ranked.

    Attributes:
        lists: columns `user_id` string, `item` catalog id, `rank`; one row for each place.
    """

    lists: pl.DataFrame

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `trainer.retrieval.Scorer`; a user without a list gets none."""
        users = [u.decode() if isinstance(u, bytes) else str(u) for u in queries.user_id[rows]]
        scores = np.full((len(users), items.stop - items.start), -np.inf, np.float32)
        asked = pl.DataFrame({"user_id": users}, schema={"user_id": pl.String}).with_row_index(
            "row"
        )
        inside = pl.col("item").is_between(items.start, items.stop, closed="left")
        found = asked.join(self.lists.filter(inside), on="user_id")
        place = (found["row"].to_numpy(), found["item"].to_numpy() - items.start)
        scores[place] = -found["rank"].to_numpy()
        return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedLists:
    """Scores what a query's list holds by its place; nothing else is ranked.

    Attributes:
        lists: int64 [Q, width] catalog ids, best first, none twice; `PADDING` ranks nothing.
    """

    lists: Int64Array

    def score(self, queries: Queries, *, rows: slice, items: slice) -> Float32Array:
        """See `trainer.retrieval.Scorer`."""
        lists = self.lists[rows]
        scores = np.full((len(lists), items.stop - items.start), -np.inf, np.float32)
        row, place = np.nonzero((lists >= items.start) & (lists < items.stop))
        scores[row, lists[row, place] - items.start] = -place.astype(np.float32)
        return scores


def load_lists(path: Path, catalog: Catalog) -> ListScorer:
    """Reads a Parquet file of lists: `user_id`, `rank` (lowest first) and `video_id`.

    Items that the catalog does not hold are left out.

    Raises:
        UserError: the file is missing or lacks a column.
    """
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise UserError(f"--compare_lists: {path} cannot be read: {error}") from None
    missing = {"user_id", "rank", "video_id"} - set(table.columns)
    if missing:
        raise UserError(
            f"--compare_lists={path}: found columns {', '.join(table.columns)}, expected "
            f"{min(missing)} too"
        )
    ids = pl.DataFrame(
        {"video_id": catalog.video_id[1:].tolist(), "item": np.arange(1, catalog.size)}
    )
    lists = table.join(ids, on="video_id").select(
        "user_id", "item", pl.col("rank").cast(pl.Float32)
    )
    return ListScorer(lists=lists)
