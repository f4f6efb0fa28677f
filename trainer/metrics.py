"""Ranking metrics over the full catalog, per query and in slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preprocessing.columns import SECONDS_PER_DAY
from trainer.queries import Int64Array, Queries, Ragged

DEFAULT_KS = (10, 20, 50, 100, 200)

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metrics:
    """How good the lists of Q queries are.

    Attributes:
        per_query: `HR@k`, `Recall@k`, `NDCG@k`, `MRR@k` and `MAP@k` for each k, float64 [Q],
            each in [0, 1].
        coverage: `Coverage@k` for each k: the share of the catalog that is in any query's first k.
        rank: where in its query's list each relevant item is, int64 [total], parallel to
            `relevant.values`; 1 is first, 0: not in the list.
        ks: the cut-offs, ascending.
    """

    per_query: Mapping[str, Float64Array]
    coverage: Mapping[str, float]
    rank: Int64Array
    ks: tuple[int, ...]

    @property
    def means(self) -> dict[str, float]:
        """Each metric's mean over queries, and the coverage."""
        means = {name: float(values.mean()) for name, values in self.per_query.items()}
        return means | dict(self.coverage)


def evaluate_lists(
    lists: Int64Array,
    relevant: Ragged,
    ks: Sequence[int] = DEFAULT_KS,
    *,
    catalog_size: int,
) -> Metrics:
    """Compares ranked lists with what was relevant.

    With r the relevant items of a query and h_i = 1 where rank i holds one of them:

    - HR@k: 1 if any h_i, i <= k
    - Recall@k: sum of h_i / |r|
    - NDCG@k: sum of h_i / log2(i + 1), over the same of a list that starts with min(k, |r|) hits
    - MRR@k: 1 / the first i <= k with a hit, else 0
    - MAP@k: sum of h_i · (hits up to i) / i, over min(k, |r|)

    Args:
        lists: int64 [Q, width], best first, no item twice in a row, padded at the end with -1;
            width at least max(ks), so that a list cut too short cannot pass for a bad one.
        relevant: Q rows of at least one int64 catalog id each, none twice in a row.
        ks: cut-offs, at least 1 each.
        catalog_size: how many items could have been listed for some query; the denominator of
            coverage.

    Raises:
        ValueError: if the arguments break what is said above.

    Source:
        Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (TOIS 2002) for
        NDCG, with binary gain and the discount log2(i + 1), so that rank 1 counts 1. MAP is often
        divided by |r|; min(k, |r|) lets a perfect list score 1 at every k.
    """
    ks = tuple(sorted(set(ks)))
    _check(lists, relevant, ks, catalog_size)
    rank = _rank_of_relevant(lists, relevant)
    return Metrics(
        per_query=_per_query(rank, relevant, ks),
        coverage={f"Coverage@{k}": _distinct_items(lists[:, :k]) / catalog_size for k in ks},
        rank=rank,
        ks=ks,
    )


def _check(lists: Int64Array, relevant: Ragged, ks: tuple[int, ...], catalog_size: int) -> None:
    if not ks or ks[0] < 1:
        raise ValueError(f"ks must be at least 1, found {ks}")
    if catalog_size < 1:
        raise ValueError(f"catalog_size must be at least 1, found {catalog_size}")
    if lists.ndim != 2 or len(lists) != len(relevant) or lists.shape[1] < ks[-1]:
        raise ValueError(
            f"lists must be [{len(relevant)}, at least {ks[-1]}] for {len(relevant)} queries and "
            f"k up to {ks[-1]}, found {lists.shape}"
        )
    if len(lists) == 0:
        raise ValueError("lists must hold at least one query, found none")
    ordered = np.sort(lists, axis=1)
    if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
        raise ValueError("lists must not hold an item twice in a row")
    if np.any((lists[:, 1:] >= 0) & (lists[:, :-1] < 0)):
        raise ValueError("lists must be padded at the end only")
    if np.any(relevant.lengths == 0):
        raise ValueError(
            f"each query must have a relevant item, found none in row {np.argmin(relevant.lengths)}"
        )


def _rank_of_relevant(lists: Int64Array, relevant: Ragged) -> Int64Array:
    """The 1-based rank of each relevant item in its query's list, 0 where absent: int64 [total]."""
    num_items = int(max(lists.max(initial=0), relevant.values.max())) + 1
    key = relevant.row_of_value * num_items + relevant.values
    order = np.argsort(key, kind="stable")
    sorted_key = key[order]
    if np.any(sorted_key[1:] == sorted_key[:-1]):
        raise ValueError("relevant must not hold an item twice in a row")
    query, position = np.nonzero(lists >= 0)
    list_key = query * num_items + lists[query, position]
    at = np.minimum(np.searchsorted(sorted_key, list_key), len(sorted_key) - 1)
    hit = sorted_key[at] == list_key
    rank = np.zeros(len(key), dtype=np.int64)
    rank[order[at[hit]]] = position[hit] + 1
    return rank


def _per_query(rank: Int64Array, relevant: Ragged, ks: tuple[int, ...]) -> dict[str, Float64Array]:
    num_queries = len(relevant)
    row = relevant.row_of_value[rank > 0]
    hit_rank = rank[rank > 0]
    order = np.lexsort((hit_rank, row))
    row, hit_rank = row[order], hit_rank[order]
    hits_so_far = np.arange(1, len(row) + 1) - np.searchsorted(row, row)
    precision = hits_so_far / hit_rank
    gain = 1 / np.log2(hit_rank + 1.0)
    ideal_gain = np.cumsum(1 / np.log2(np.arange(2, ks[-1] + 2)))
    reciprocal_of_first = np.where(hits_so_far == 1, 1 / hit_rank, 0.0)

    per_query: dict[str, Float64Array] = {}
    for k in ks:
        within = hit_rank <= k
        hits, dcg, reciprocal_rank, precision_sum = (
            _sum_by_query(row[within], values[within], num_queries)
            for values in (np.ones(len(row)), gain, reciprocal_of_first, precision)
        )
        ideal_hits = np.minimum(k, relevant.lengths)
        per_query[f"HR@{k}"] = (hits > 0).astype(np.float64)
        per_query[f"Recall@{k}"] = hits / relevant.lengths
        per_query[f"NDCG@{k}"] = dcg / ideal_gain[ideal_hits - 1]
        per_query[f"MRR@{k}"] = reciprocal_rank
        per_query[f"MAP@{k}"] = precision_sum / ideal_hits
    return per_query


def _sum_by_query(row: Int64Array, values: Float64Array, num_queries: int) -> Float64Array:
    return np.bincount(row, weights=values, minlength=num_queries).astype(np.float64)


def _distinct_items(lists: Int64Array) -> int:
    return len(np.unique(lists[lists >= 0]))


# ---------------------------------------------------------------------------------------- slices

HISTORY_LENGTH_GROUPS = ("0", "1-4", "5-19", "20+")
POPULARITY_GROUPS = ("head", "mid", "tail")
ITEM_AGE_GROUPS = ("cold", "under 1 d", "1-7 d", "over 7 d")


def history_length_group(lengths: Int64Array) -> Int64Array:
    """The index into `HISTORY_LENGTH_GROUPS` for histories of the given lengths [Q]."""
    return np.searchsorted([1, 5, 20], lengths, side="right")


def popularity_group(train_count: Int64Array) -> Int64Array:
    """Thirds of the train events, by item: an index into `POPULARITY_GROUPS`, int64 [num_items].

    Items are ordered from most to least popular, ties by the smaller id; an item is in the head if
    the more popular ones hold under a third of all events, in the mid if under two thirds, else in
    the tail, where every item without train events is.
    """
    order = np.argsort(-train_count, kind="stable")
    before = np.cumsum(train_count[order]) - train_count[order]
    total = train_count.sum()
    group = np.empty(len(train_count), dtype=np.int64)
    group[order] = (3 * before >= total).astype(np.int64) + (3 * before >= 2 * total)
    group[train_count == 0] = POPULARITY_GROUPS.index("tail")
    return group


def item_age_group(
    queries: Queries, *, train_count: Int64Array, available: Int64Array
) -> Int64Array:
    """How old each relevant item is at the query: an index into `ITEM_AGE_GROUPS`, int64 [total].

    An item without a train event is cold, whatever its age; the others go by the time since they
    became available.
    """
    item = queries.relevant.values
    age_days = (queries.as_of[queries.relevant.row_of_value] - available[item]) / SECONDS_PER_DAY
    return np.where(train_count[item] == 0, 0, 1 + np.searchsorted([1, 7], age_days, side="right"))


def slice_by_query(
    metrics: Metrics, group: Int64Array, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Every metric's mean over the queries of each group.

    Args:
        metrics: of Q queries.
        group: int64 [Q], an index into names.
        names: what to call the groups; those without a query are left out.

    Returns:
        For each group `queries`, how many there are, and the means.
    """
    return {
        name: {"queries": float(np.count_nonzero(group == index))}
        | {metric: float(v[group == index].mean()) for metric, v in metrics.per_query.items()}
        for index, name in enumerate(names)
        if np.any(group == index)
    }


def slice_by_relevant(
    metrics: Metrics, relevant: Ragged, group: Int64Array, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Recall of the relevant items of each group, over the queries that have such items.

    The lists are those of the whole catalog; only what counts as relevant is restricted.

    Args:
        metrics: of Q queries.
        relevant: what the metrics were computed against.
        group: int64 [total], an index into names for each relevant item.
        names: what to call the groups; those without a relevant item are left out.

    Returns:
        For each group `queries` and `relevant`, how many there are, and `Recall@k` for each k.
    """
    slices = {}
    for index, name in enumerate(names):
        inside = group == index
        if not np.any(inside):
            continue
        lengths = relevant.keep(inside).lengths
        asked = lengths > 0
        row, rank = relevant.row_of_value[inside], metrics.rank[inside]
        slices[name] = {
            "queries": float(np.count_nonzero(asked)),
            "relevant": float(np.count_nonzero(inside)),
        }
        for k in metrics.ks:
            hits = np.bincount(row[(rank > 0) & (rank <= k)], minlength=len(relevant))
            slices[name][f"Recall@{k}"] = float(np.mean(hits[asked] / lengths[asked]))
    return slices


def evaluation_slices(
    metrics: Metrics, queries: Queries, *, train_count: Int64Array, available: Int64Array
) -> dict[str, dict[str, dict[str, float]]]:
    """The slices of a report: `history length`, `item popularity` and `item age`.

    Args:
        metrics: of `queries`.
        queries: Q queries, each with a relevant item.
        train_count: int64 [num_items], how many train positives each item has.
        available: int64 [num_items], the time in UTC seconds from which each item exists.

    Returns:
        Slice, group, metric; see `slice_by_query` and `slice_by_relevant`.
    """
    relevant = queries.relevant
    return {
        "history length": slice_by_query(
            metrics, history_length_group(queries.history.lengths), HISTORY_LENGTH_GROUPS
        ),
        "item popularity": slice_by_relevant(
            metrics, relevant, popularity_group(train_count)[relevant.values], POPULARITY_GROUPS
        ),
        "item age": slice_by_relevant(
            metrics,
            relevant,
            item_age_group(queries, train_count=train_count, available=available),
            ITEM_AGE_GROUPS,
        ),
    }
