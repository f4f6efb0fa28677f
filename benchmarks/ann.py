"""The exported index beside public peers: same vectors, one run, interleaved, medians.

    python -m benchmarks.ann --workdir=ann --items=1000000

Indexes an item tower's vectors over a simulated catalog; queries are the users' vectors. Searches
run on one core, in batches of 32; rounds go over all systems, and a figure is the median of its
rounds. QPS at a recall is interpolated between settings of a system; settings that are far
slower than another of the same system that finds as much are left out after a first look. Vectors
and indices of faiss are kept in the workdir, so that a run that was cut goes on from them;
`ann.json` there holds the result.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.ann_overhead import overhead
from benchmarks.ann_peers import (
    BATCH,
    WIDTH,
    Built,
    FloatArray,
    batches,
    faiss_hnsw,
    faiss_pq,
    one_core,
    tfrs_scann,
)
from benchmarks.ann_vectors import vectors
from configs.cli import console, run_app
from configs.schema import Export
from serving.index import size_bytes
from serving.tuning import Tuned, build

_WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
_ITEMS = flags.DEFINE_integer("items", 1_000_000, "Videos to simulate.", lower_bound=1_000)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which the median is taken.", lower_bound=5)
_NUM_QUERIES = flags.DEFINE_integer(
    "queries", 1_024, "Users whose lists are compared; as many more tune the index.", lower_bound=32
)
_RECALL = 0.95
# Of two settings that find equally much, one so many times slower is no longer measured.
_FAR_SLOWER = 1.5
# Dot products of unit vectors closer than this are the same place in the list.
_TIE = 1e-6

IntArray = npt.NDArray[np.int64]
Point = tuple[float, float]
"""Recall and QPS of a setting."""


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints."""
    del argv
    out, root = console(), Path(_WORKDIR.value) / str(_ITEMS.value)
    root.mkdir(parents=True, exist_ok=True)
    items, queries = vectors(root, items=_ITEMS.value, queries=2 * _NUM_QUERIES.value, console=out)
    tuning, asked = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    threads = os.cpu_count() or 1
    mine, tuned = ours(items, tuning)
    hnsw = _told(faiss_hnsw(items, threads=threads, keep=root), out)
    pq = _told(faiss_pq(items, threads=threads, keep=root), out)
    tfrs = _told(tfrs_scann(items), out)
    _told(mine, out)
    curves = measure([mine, hnsw, pq, tfrs], items, asked, rounds=_ROUNDS.value, out=out)
    at = {name: qps_at(curve, _RECALL) for name, curve in curves.items()}
    ((tfrs_recall, tfrs_qps),) = curves[tfrs.name]
    result: dict[str, Any] = {
        "items": len(items),
        "dim": items.shape[1],
        "queries": len(asked),
        "chosen": tuned.chosen.setting,
        "build_s": {each.name: round(each.build_s, 1) for each in (mine, hnsw, pq, tfrs)},
        "qps at recall .95": {n: round(q) if q else None for n, q in at.items()},
        "over HNSW": _ratio(at[mine.name], at[hnsw.name]),
        "over IVF-PQ-fastscan with refine": _ratio(at[mine.name], at[pq.name]),
        "over TFRS's default layer at its recall": _ratio(
            qps_at(curves[mine.name], tfrs_recall), tfrs_qps
        ),
        "TFRS's recall and QPS": [round(tfrs_recall, 4), round(tfrs_qps)],
        "build time over HNSW's": _ratio(mine.build_s, hnsw.build_s),
        "size over float32 vectors": _ratio(mine.size_bytes, items.nbytes),
    }
    found = overhead(items, asked, tuned, rounds=_ROUNDS.value)
    result |= {
        "ms": {name: round(value, 4) for name, value in found.items()},
        "exported op over pybind, one query": _ratio(
            found["op, one"] - found["empty, one"], found["pybind, one"]
        ),
        "exported op over pybind, batches of 32": _ratio(
            found["op, batch"] - found["empty, batch"], found["pybind, batch"]
        ),
    }
    (root / "ann.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    out.print(json.dumps(result, indent=1))
    return result


def ours(items: FloatArray, tuning_queries: FloatArray) -> tuple[Built, Tuned]:
    """The index as `serving.export` builds it; its settings are those that were tuned over."""
    tuned = build(items, tuning_queries, config=Export(), width=WIDTH)
    searcher = tuned.searcher

    @tf.function(reduce_retracing=True)
    def search(query: tf.Tensor, to_search: tf.Tensor, reorder: tf.Tensor) -> tf.Tensor:
        return searcher.search_with(query, WIDTH, leaves_to_search=to_search, reorder=reorder)[0]

    def with_setting(to_search: int, reorder: int) -> Callable[[FloatArray], IntArray]:
        arguments = tf.constant(to_search), tf.constant(reorder)
        return lambda queries: search(tf.constant(queries), *arguments).numpy()

    built = Built(
        name="serving.export",
        build_s=tuned.build_s,  # without the tuning, which the peers do not do
        size_bytes=size_bytes(searcher),
        settings={t.setting: with_setting(t.leaves_to_search, t.reorder) for t in tuned.tried},
    )
    return built, tuned


def measure(
    systems: list[Built], items: FloatArray, asked: FloatArray, *, rounds: int, out: Console
) -> dict[str, list[Point]]:
    """Recall and QPS of the settings of every system that are worth a look."""
    furthest = furthest_of(items, asked)
    recall: dict[tuple[str, str], float] = {}
    qps: dict[tuple[str, str], list[float]] = {}
    for each in systems:
        for setting, search in each.settings.items():
            found = np.concatenate([search(batch) for batch in batches(asked, BATCH)])
            recall[each.name, setting] = recall_of(found, items, asked, furthest)
    with one_core():
        for number in range(-1, rounds + 1):
            out.print(f"round {number} of {rounds}" if number > 0 else "a first look")
            for each in systems:
                for setting, search in each.settings.items():
                    at = each.name, setting
                    if number > 0 and at not in qps:
                        continue
                    begin = time.perf_counter()
                    done = sum(len(search(batch)) for batch in batches(asked, BATCH))
                    qps.setdefault(at, []).append(done / (time.perf_counter() - begin))
            if number == 0:
                points = {at: (at[0], recall[at], max(looked)) for at, looked in qps.items()}
                qps = {at: [] for at in points if is_worth_a_look(points[at], points.values())}
    table = Table(title=f"{len(items):,} × {items.shape[1]}, batches of {BATCH}, one core")
    for header in ("system", "setting", f"recall@{WIDTH}", "QPS", "least", "most"):
        table.add_column(header, justify="left" if header in ("system", "setting") else "right")
    curves: dict[str, list[Point]] = {}
    for (name, setting), found_qps in qps.items():
        median = statistics.median(found_qps)
        curves.setdefault(name, []).append((recall[name, setting], median))
        figures = (median, min(found_qps), max(found_qps))
        share = f"{recall[name, setting]:.4f}"
        table.add_row(name, setting, share, *(f"{figure:,.0f}" for figure in figures))
    out.print(table)
    return curves


def is_worth_a_look(
    point: tuple[str, float, float], points: Iterable[tuple[str, float, float]]
) -> bool:
    """Whether no setting of the same system finds as much far faster."""
    name, recall, qps = point
    return not any(
        other == name and more >= recall and faster > _FAR_SLOWER * qps
        for other, more, faster in points
    )


def furthest_of(items: FloatArray, asked: FloatArray) -> FloatArray:
    """The dot product of the last item of each exact list: float32 [q, 1]."""
    blocks = [
        np.partition(asked[i : i + BATCH] @ items.T, -WIDTH, axis=1)[:, -WIDTH]
        for i in range(0, len(asked), BATCH)
    ]
    return np.concatenate(blocks)[:, np.newaxis]


def recall_of(found: IntArray, items: FloatArray, asked: FloatArray, furthest: FloatArray) -> float:
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


def _told(built: Built, out: Console) -> Built:
    out.print(f"{built.name}: built in {built.build_s:.1f} s")
    return built


def _ratio(one: float | None, other: float | None) -> float | None:
    return round(one / other, 3) if one and other else None


if __name__ == "__main__":
    run_app(main)
