"""Recall and QPS of the settings of every system: which are worth a look, and what they give."""

import os
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.ann_peers import WIDTH, Built, FloatArray, Rows, Search

BATCH = 32
# Of two settings that find equally much, one so many times slower is no longer measured.
_FAR_SLOWER = 1.5
# Dot products of unit vectors closer than this are the same place in the list.
_TIE = 1e-6

Point = tuple[float, float]
"""Recall and QPS of a setting."""


def chosen(
    systems: Sequence[Built], items: FloatArray, queries: FloatArray, *, recall: float, out: Console
) -> list[Built]:
    """Of every system its fastest variant at a recall, with the settings that are worth a look.

    Args:
        systems: variants of one system have one name.
        items: float32 [n, dim].
        queries: float32 [q, dim], of users by whom nothing but this is decided.
        recall: at which the variants are compared.
        out: for what was found.
    """
    furthest = furthest_of(items, queries)
    best: dict[str, tuple[float, Built]] = {}
    with one_core():
        for each in systems:
            points = {}
            for setting, search in each.settings.items():
                found = np.concatenate([search(batch) for batch in batches(queries)])
                points[setting] = (
                    recall_of(found, items, queries, furthest),
                    max(_qps(search, queries) for _ in range(2)),
                )
            at = qps_at(list(points.values()), recall)
            what = f"{each.name}, {each.variant}" if each.variant else each.name
            out.print(f"{what}: {round(at) if at else 'out of reach'}")
            kept = {
                setting: search
                for setting, search in each.settings.items()
                if is_worth_a_look(points[setting], points.values())
            }
            if each.name not in best or (at or 0.0) > best[each.name][0]:
                best[each.name] = (at or 0.0, replace(each, settings=kept))
    return [each for _, each in best.values()]


def measured(
    systems: Sequence[Built], items: FloatArray, asked: FloatArray, *, rounds: int, out: Console
) -> dict[str, list[Point]]:
    """Recall and median QPS of every setting, by system; rounds go over all of them."""
    furthest = furthest_of(items, asked)
    recall: dict[tuple[str, str], float] = {}
    qps: dict[tuple[str, str], list[float]] = {}
    with one_core():
        for number in range(rounds + 1):
            out.print(f"round {number} of {rounds}" if number else "recall")
            for each in systems:
                for setting, search in each.settings.items():
                    at = each.name, setting
                    if number:
                        qps.setdefault(at, []).append(_qps(search, asked))
                    else:
                        found = np.concatenate([search(batch) for batch in batches(asked)])
                        recall[at] = recall_of(found, items, asked, furthest)
    variant = {each.name: each.variant for each in systems}
    table = Table(title=f"{len(items):,} × {items.shape[1]}, batches of {BATCH}, one core")
    for header in ("system", "setting", f"recall@{WIDTH}", "QPS", "least", "most"):
        table.add_column(header, justify="left" if header in ("system", "setting") else "right")
    curves: dict[str, list[Point]] = {}
    for (name, setting), found_qps in qps.items():
        median = statistics.median(found_qps)
        curves.setdefault(name, []).append((recall[name, setting], median))
        figures = (f"{figure:,.0f}" for figure in (median, min(found_qps), max(found_qps)))
        full = f"{name}, {variant[name]}" if variant[name] else name
        table.add_row(full, setting, f"{recall[name, setting]:.4f}", *figures)
    out.print(table)
    return curves


def _qps(search: Search, queries: FloatArray) -> float:
    begin = time.perf_counter()
    done = sum(len(search(batch)) for batch in batches(queries))
    return done / (time.perf_counter() - begin)


def is_worth_a_look(point: Point, points: Iterable[Point]) -> bool:
    """Whether no other setting of the same system finds as much far faster."""
    recall, qps = point
    return not any(more >= recall and faster > _FAR_SLOWER * qps for more, faster in points)


def furthest_of(items: FloatArray, asked: FloatArray) -> FloatArray:
    """The dot product of the last item of each exact list: float32 [q, 1]."""
    blocks = [
        np.partition(asked[i : i + BATCH] @ items.T, -WIDTH, axis=1)[:, -WIDTH]
        for i in range(0, len(asked), BATCH)
    ]
    return np.concatenate(blocks)[:, np.newaxis]


def recall_of(found: Rows, items: FloatArray, asked: FloatArray, furthest: FloatArray) -> float:
    """Share of the exact lists that distinct rows found reach, by their true dot products."""
    hits = 0
    for rows, query, last in zip(found, asked, furthest[: len(found)], strict=False):
        distinct = np.unique(rows[rows >= 0])
        hits += int(np.count_nonzero(items[distinct] @ query >= last - _TIE))
    return hits / (len(found) * WIDTH)


def qps_at(curve: list[Point], recall: float) -> float | None:
    """QPS at a recall, between its neighbours on the front, log scale; None if out of reach."""
    front: list[Point] = []
    for point in sorted(curve, key=lambda p: (-p[1], -p[0])):  # fastest first
        if not front or point[0] > front[-1][0]:
            front.append(point)
    if front[0][0] >= recall:
        return front[0][1]
    for (low, fast), (high, slow) in zip(front, front[1:], strict=False):
        if high >= recall:
            share = (recall - low) / (high - low)
            return float(np.exp((1 - share) * np.log(fast) + share * np.log(slow)))
    return None


def batches(queries: FloatArray) -> Iterator[FloatArray]:
    """The queries, `BATCH` at a time; what does not fill a batch is left out."""
    for start in range(0, len(queries) - BATCH + 1, BATCH):
        yield queries[start : start + BATCH]


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps all threads of this process on one core: no system searches with two."""
    before = os.sched_getaffinity(0)
    threads = [int(name) for name in os.listdir("/proc/self/task")]
    for thread in threads:
        os.sched_setaffinity(thread, {min(before)})
    try:
        yield
    finally:
        for thread in threads:
            if os.path.exists(f"/proc/self/task/{thread}"):
                os.sched_setaffinity(thread, before)
