"""The exported index beside public peers: same vectors, one run, interleaved, medians.

    python -m benchmarks.ann --workdir=ann --items=1000000

Indexes an item tower's vectors over a simulated catalog; queries are the users' vectors. Everything
is chosen by some of the users and reported on the others: the index is tuned by them as
`serving.export` tunes it, and of each peer the fastest variant at the recall is taken (IVF-PQ's
number of lists and kind of codes), with the settings that are worth a look. Then rounds go over all
systems, on one core, in batches of 32; a figure is the median of its rounds, and QPS at a recall is
interpolated between the settings of a system.

Our index and faiss's HNSW are built in this run, each with as many threads as there are cores. What
is not timed, vectors and other peers' indices, is kept in the workdir, so that a run that was cut
goes on from it; `ann.json` there holds the result. hnswlib takes part where it is installed.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.ann_curves import Point, chosen, measured, qps_at
from benchmarks.ann_overhead import overhead
from benchmarks.ann_peers import (
    WIDTH,
    Built,
    FloatArray,
    Rows,
    faiss_hnsw,
    faiss_pq,
    hnswlib_hnsw,
    tfrs_scann,
)
from benchmarks.ann_vectors import vectors
from configs.cli import console, run_app
from configs.files import write_json
from configs.schema import Export
from serving.index import size_bytes
from serving.served_search import served
from serving.tuning import Tuned, build, search_function

_WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
_ITEMS = flags.DEFINE_integer("items", 1_000_000, "Videos to simulate.", lower_bound=1_000)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which the median is taken.", lower_bound=5)
_TUNING_USERS = flags.DEFINE_integer(
    "tuning_users", 2_048, "Users who choose the settings; the log's others are reported.", 32
)
_RECALL = 0.95
# (row of the table, key of the result, bound, aim, whether more is better)
_BOUNDS = (
    ("QPS over HNSW's", "over HNSW", 1.0, 1.3, True),
    ("QPS over IVF-PQ-fastscan's", "over IVF-PQ", 1.5, 2.5, True),
    ("QPS over TFRS's layer's, at its recall", "over TFRS", 2.0, 4.0, True),
    ("build time over HNSW's", "build over HNSW", 0.2, 0.1, False),
    ("size over float32 vectors", "size", 1.4, 0.6, False),
    ("exported op over pybind, one query", "op, one", 1.6, 1.2, False),
    ("exported op over pybind, batches of 32", "op, batch", 1.3, 1.1, False),
)


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints."""
    del argv
    out, root = console(), Path(_WORKDIR.value) / str(_ITEMS.value)
    root.mkdir(parents=True, exist_ok=True)
    of = vectors(root, items=_ITEMS.value, tuning_users=_TUNING_USERS.value, console=out)
    threads = os.cpu_count() or 1  # ScaNN takes as many by itself
    with ExitStack() as until:
        mine, tuned = ours(of.items, of.tuning, until=until)
        out.print(f"{mine.name}: built in {mine.build_s:.1f} s")
        hnsw = faiss_hnsw(of.items, threads=threads)
        out.print(f"{hnsw.name}: built in {hnsw.build_s:.1f} s")
        systems = [mine, hnsw, *faiss_pq(of.items, threads=threads, keep=root)]
        systems.append(tfrs_scann(of.items, until=until))
        if (other_hnsw := hnswlib_hnsw(of.items, threads=threads, keep=root)) is not None:
            systems.append(other_hnsw)
        best = chosen(systems, of.items, of.tuning, recall=_RECALL, out=out)
        curves = measured(best, of.items, of.fresh, rounds=_ROUNDS.value, out=out)
    found = overhead(of.items, of.fresh, tuned, rounds=_ROUNDS.value)
    result: dict[str, Any] = {
        "items": len(of.items),
        "dim": of.items.shape[1],
        "users": {"tuning": len(of.tuning), "reported": len(of.fresh)},
        "threads": threads,
        "variant": {each.name: each.variant for each in best if each.variant},
        "chosen": tuned.chosen.setting,
        "build_s": {each.name: round(each.build_s, 1) for each in (mine, hnsw)},
        "qps": {
            name: round(at) if (at := qps_at(curve, _RECALL)) else None
            for name, curve in curves.items()
        },
        "ms": {name: round(value, 4) for name, value in found.items()},
        "ratios": {
            **qps_ratios(curves, mine.name),
            "build over HNSW": mine.build_s / hnsw.build_s,
            "size": mine.size_bytes / of.items.nbytes,
            "op, one": (found["op, one"] - found["empty, one"]) / found["pybind, one"],
            "op, batch": (found["op, batch"] - found["empty, batch"]) / found["pybind, batch"],
        },
    }
    write_json(root / "ann.json", result)
    _print_bounds(result["ratios"], out)
    return result


def ours(items: FloatArray, tuning_queries: FloatArray, *, until: ExitStack) -> tuple[Built, Tuned]:
    """The index as `serving.export` builds it; its settings are those that were tuned over.

    It answers until then.
    """
    tuned = build(items, tuning_queries, config=Export(), width=WIDTH)
    searcher = tuned.searcher

    run = until.enter_context(served(searcher, {"search": search_function(searcher, WIDTH)}))[
        "search"
    ]

    def with_setting(leaves_to_search: int, reorder: int) -> Callable[[FloatArray], Rows]:
        leaves, reordered = np.int32(leaves_to_search), np.int32(reorder)
        return lambda queries: run(leaves, queries, reordered)[0]

    built = Built(
        name="serving.export",
        settings={t.setting: with_setting(t.leaves_to_search, t.reorder) for t in tuned.tried},
        build_s=tuned.build_s,  # without the tuning, which the peers do not do
        size_bytes=size_bytes(searcher),
    )
    return built, tuned


def qps_ratios(curves: dict[str, list[Point]], mine: str) -> dict[str, float | None]:
    """Our QPS over the peers': at the recall, and over TFRS's layer at what that finds.

    Of two implementations of HNSW the faster counts. None where a system does not reach the recall.
    """
    at = {name: qps_at(curve, _RECALL) for name, curve in curves.items()}
    ((tfrs_recall, tfrs_qps),) = curves["TFRS ScaNN layer, defaults"]
    at_tfrs_recall = qps_at(curves[mine], tfrs_recall)
    hnsw = max((at.get(name) or 0.0) for name in ("faiss HNSW", "hnswlib"))
    own, pq = at[mine], at["faiss IVF-PQ-fastscan, refined"]
    return {
        "over HNSW": own / hnsw if own and hnsw else None,
        "over IVF-PQ": own / pq if own and pq else None,
        "over TFRS": at_tfrs_recall / tfrs_qps if at_tfrs_recall else None,
    }


def _print_bounds(ratios: dict[str, float | None], out: Console) -> None:
    table = Table(title="reached")
    for header in ("what", "found", "bound", "aim", "met"):
        table.add_column(header, justify="left" if header in ("what", "met") else "right")
    for what, key, bound, aim, more in _BOUNDS:
        ratio = ratios[key]
        table.add_row(what, f"{ratio:.3f}" if ratio else "-", *_met(ratio, bound, aim, more))
    out.print(table)


def _met(ratio: float | None, bound: float, aim: float, more: bool) -> tuple[str, str, str]:
    sign = "≥" if more else "≤"

    def reaches(limit: float) -> bool:
        return ratio is not None and (ratio >= limit if more else ratio <= limit)

    met = "aim" if reaches(aim) else "bound" if reaches(bound) else "no"
    return f"{sign} {bound}", f"{sign} {aim}", met


if __name__ == "__main__":
    run_app(main)
