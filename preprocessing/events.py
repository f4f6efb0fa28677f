"""The events of one group of users: one row for each event, in time order."""

import polars as pl

from configs.schema import Ties
from preprocessing.columns import TIMESTAMP, USER_ID
from preprocessing.contract import EVENT, VIDEO_ID
from preprocessing.parsing import LINE

FILE = "file"
_KEY = [USER_ID, TIMESTAMP, VIDEO_ID, EVENT]
_ORDER = {
    Ties.STRICT: _KEY,
    Ties.FILE_ORDER: [USER_ID, TIMESTAMP, FILE, LINE],
}


def in_order(events: pl.DataFrame, ties: Ties) -> pl.DataFrame:
    """Events by user and time; those of one second by item id, or as files have them."""
    return events.sort(_ORDER[ties])


def deduplicate(events: pl.DataFrame, ties: Ties) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keeps one of the events that agree in name, user, video and time.

    The longest watch is kept; among equals the least by all other columns, or under file order
    the first, so that the same lines in other files give the same events.

    Args:
        events: in any order.
        ties: how equals are told apart.

    Returns:
        The events that stay, in order, and those that were left out.
    """
    events = events.sort(_KEY)
    same = events.select(
        pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in _KEY).fill_null(False)
    ).to_series()
    if same.any():
        doubled = same | same.shift(-1, fill_value=False)
        others = [c for c in events.columns if c not in (*_KEY, FILE, LINE)]
        rank = [FILE, LINE]
        if ties is Ties.STRICT:
            rank = ["content", *rank]
        ranked = (
            events.filter(doubled)
            .with_columns(pl.struct(others).struct.json_encode().alias("content"))
            .sort(
                [*_KEY, "watch_sec", *rank],
                descending=[False] * len(_KEY) + [True] + [False] * len(rank),
                nulls_last=True,
            )
            .drop("content")
        )
        first = ranked.select(pl.struct(_KEY).is_first_distinct()).to_series()
        dropped = ranked.filter(~first)
        events = pl.concat([events.filter(~doubled), ranked.filter(first)])
    else:
        dropped = events.clear()
    return in_order(events, ties), dropped
