"""Item features as rows see them: gathered from the catalog and the statistics of the row's day."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from preprocessing.columns import ITEM
from preprocessing.description.columns import Described, Stored
from preprocessing.description.positives import scan
from preprocessing.description.sample import DAY, RowSet
from preprocessing.manifest import Manifest


def gather(
    root: Path, manifest: Manifest, rows: RowSet, described: Sequence[Described]
) -> pl.DataFrame:
    """The sampled rows' positives with the columns of their items.

    Only items of the sample are read into memory, whatever the size of the catalog.

    Returns:
        `item`, `day`, `timestamp` and each described column.
    """
    items = rows.items
    wanted = items.lazy().select(pl.col(ITEM).unique())
    names = _names(described, Stored.CATALOG)
    if names:
        of_catalog = scan(root, manifest, "catalog").select(ITEM, *names)
        found = of_catalog.join(wanted, on=ITEM, how="semi").collect(engine="streaming")
        items = items.join(found, on=ITEM, how="left")
    names = _names(described, Stored.STATISTICS)
    if names:
        statistics = scan(root, manifest, "item_statistics").select(ITEM, DAY, *names)
        found = statistics.join(wanted, on=ITEM, how="semi").collect(engine="streaming")
        # A day without a row of its own has the counts of the newest before it, or none.
        items = items.sort(DAY).join_asof(
            found.sort(DAY), on=DAY, by=ITEM, strategy="backward", check_sortedness=False
        )
        items = items.with_columns(pl.col(names).fill_null(0))
    return items


def missing_shares(
    root: Path, manifest: Manifest, sets: Sequence[RowSet], described: Sequence[Described]
) -> list[dict[str, float]]:
    """For each set of rows: the share of positives whose item has no value, by column, exact."""
    shares: list[dict[str, float]] = [{} for _ in sets]
    for each in described:
        name = each.column.name
        lacking = np.empty(0, np.int64)
        if each.stored is Stored.CATALOG:
            catalog = scan(root, manifest, "catalog").filter(each.is_missing())
            lacking = catalog.select(ITEM).collect(engine="streaming")[ITEM].to_numpy()
        for share, rows in zip(shares, sets, strict=True):
            count = rows.item_count
            share[name] = float(count[lacking].sum() / max(1, count.sum()))
    return shares


def _names(described: Sequence[Described], stored: Stored) -> list[str]:
    return list(dict.fromkeys(d.column.name for d in described if d.stored is stored))
