"""The exported index beside public peers: same vectors, one run, interleaved, medians.

    python -m benchmarks.ann --workdir=ann --items=100000

Simulates a catalog of so many videos with its log, trains the default towers on it for an epoch,
and indexes the item tower's vectors; queries are the users' vectors. Searches run in one thread, in
batches of 32; rounds go over all systems, and a figure is the median of its rounds. QPS at a recall
is interpolated between the settings of a system. A stage that is there from an earlier run is used
again.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.ann_peers import (
    WIDTH,
    Built,
    FloatArray,
    batches,
    faiss_hnsw,
    faiss_pq,
    pybind_scann,
    tfrs_scann,
)
from configs import default
from configs.cli import console, run_app
from configs.schema import Export
from preprocessing.job import preprocess
from preprocessing.simulate import simulate
from serving.index import ScannSearcher, kind_for, leaves_for, size_bytes
from serving.offline import embed_requests
from serving.requests import build_request, load_states
from serving.saved_model import SavedModel
from serving.tuning import build, recall_by_score
from trainer.restore import restore_run
from trainer.train import train_and_evaluate

_WORKDIR = flags.DEFINE_string("workdir", None, "Where all is written.", required=True)
_ITEMS = flags.DEFINE_integer("items", 1_000_000, "Videos to simulate.", lower_bound=1_000)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which the median is taken.", lower_bound=5)
_NUM_QUERIES = flags.DEFINE_integer(
    "queries", 1_024, "Users whose lists are compared; as many more tune the index.", lower_bound=32
)
_RECALL = 0.95
_BATCH = 32


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints."""
    del argv
    out = console()
    items, queries = vectors(Path(_WORKDIR.value), _ITEMS.value, out)
    return measure(items, queries, rounds=_ROUNDS.value, out=out)


def vectors(root: Path, count: int, out: Console) -> tuple[FloatArray, FloatArray]:
    """Item vectors of a simulated catalog, float32 [n, dim], and user vectors."""
    config = default.get_config()
    simulation = config.simulation
    simulation.videos, simulation.creators = count, max(60, count // 50)
    config.train.epochs, config.eval.protocols = 1, ()
    config.validate()
    logs, dataset_dir, run = root / "logs", root / "dataset", root / "run"
    if not (dataset_dir / "manifest.json").exists():
        simulate(config.simulation, output=str(logs), display=out, split=config.data.split)
        tables = {n: str(logs / f"{n}.parquet") for n in ("videos", "users")}
        preprocess(
            config,
            tables={"events": str(logs / "events"), **tables},
            output=dataset_dir,
            display=out,
        )
    if not (run / "metrics.json").exists():
        train_and_evaluate(config, dataset_dir, run, console=out)
    _, dataset, model, _ = restore_run(run)
    day = dataset.manifest.splits.last_day
    items = model.embed_catalog(dataset.catalog.size, day=day)[1:]
    states = load_states(
        dataset.root, dataset.manifest, dataset.spec, sample=2 * _NUM_QUERIES.value
    )
    return items, embed_requests(model, dataset, build_request(dataset.spec, states))


def ours(items: FloatArray, tuning_queries: FloatArray, config: Export) -> tuple[Built, Any]:
    """The index as `serving.export` builds it; its settings are those that were tuned over."""
    begin = time.perf_counter()  # without the tuning, which the peers do not do
    ScannSearcher(items, num_leaves=leaves_for(len(items), kind_for(len(items), config)))
    build_s = time.perf_counter() - begin
    tuned = build(items, tuning_queries, config=config, width=WIDTH)
    searcher = tuned.searcher

    @tf.function(reduce_retracing=True)
    def search(query: tf.Tensor, to_search: tf.Tensor, reorder: tf.Tensor) -> tf.Tensor:
        return searcher.search_with(query, WIDTH, leaves_to_search=to_search, reorder=reorder)[1]

    def with_setting(to_search: int, reorder: int) -> Callable[[FloatArray], FloatArray]:
        arguments = tf.constant(to_search), tf.constant(reorder)
        return lambda queries: search(tf.constant(queries), *arguments).numpy()

    settings = {
        f"{t.leaves_to_search} leaves, reorder {t.reorder}": with_setting(
            t.leaves_to_search, t.reorder
        )
        for t in tuned.tried
    }
    built = Built(
        name="serving.export", build_s=build_s, size_bytes=size_bytes(searcher), settings=settings
    )
    return built, tuned


def measure(items: FloatArray, queries: FloatArray, *, rounds: int, out: Console) -> dict[str, Any]:
    """Recall and QPS of every setting of every system, and the ratios that are asked for."""
    tuning, asked = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    threads = os.cpu_count() or 1
    systems = []
    for make in (
        lambda: faiss_hnsw(items, threads=threads),
        lambda: faiss_pq(items, threads=threads),
        lambda: tfrs_scann(items),
    ):
        systems.append(make())
        out.print(f"{systems[-1].name}: built in {systems[-1].build_s:.1f} s")
    mine, tuned = ours(items, tuning, Export())
    out.print(f"{mine.name}: built in {mine.build_s:.1f} s; chosen {tuned.chosen}")
    systems.insert(0, mine)

    furthest = -np.sort(-(asked @ items.T), axis=1)[:, WIDTH - 1 : WIDTH]
    points: dict[str, dict[str, list[float]]] = {}
    recall: dict[str, dict[str, float]] = {}
    for each in systems:
        recall[each.name] = {}
        for setting, search in each.settings.items():
            found = np.concatenate([search(batch) for batch in batches(asked, _BATCH)])
            recall[each.name][setting] = recall_by_score(found, furthest[: len(found)])
            points.setdefault(each.name, {})[setting] = []
    for number in range(rounds):
        out.print(f"round {number + 1} of {rounds}")
        for each in systems:
            for setting, search in each.settings.items():
                begin = time.perf_counter()
                done = sum(len(search(batch)) for batch in batches(asked, _BATCH))
                points[each.name][setting].append(done / (time.perf_counter() - begin))
    table = Table(title=f"{len(items):,} × {items.shape[1]}, batches of {_BATCH}, one thread")
    for header in ("system", "setting", f"recall@{WIDTH}", "QPS"):
        table.add_column(header, justify="left" if header in ("system", "setting") else "right")
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, settings in points.items():
        for setting, found_qps in settings.items():
            qps = statistics.median(found_qps)
            curves.setdefault(name, []).append((recall[name][setting], qps))
            table.add_row(name, setting, f"{recall[name][setting]:.4f}", f"{qps:,.0f}")
    out.print(table)
    at = {name: qps_at(curve, _RECALL) for name, curve in curves.items()}
    tfrs_recall, tfrs_qps = curves[systems[3].name][0]
    hnsw = systems[1]
    result: dict[str, Any] = {
        "items": len(items),
        "dim": items.shape[1],
        "queries": len(asked),
        "qps at recall .95": {n: round(q) if q else None for n, q in at.items()},
        "over HNSW": _ratio(at[mine.name], at[hnsw.name]),
        "over IVF-PQ-fastscan with refine": _ratio(at[mine.name], at[systems[2].name]),
        "over TFRS's default layer at its recall": _ratio(
            qps_at(curves[mine.name], tfrs_recall), tfrs_qps
        ),
        "TFRS's recall": round(tfrs_recall, 4),
        "build time over HNSW's": _ratio(mine.build_s, hnsw.build_s),
        "size over float32 vectors": _ratio(mine.size_bytes, items.nbytes),
    }
    result |= overhead(items, asked, tuned, rounds=rounds)
    out.print(json.dumps(result, indent=1))
    return result


def qps_at(curve: list[tuple[float, float]], recall: float) -> float | None:
    """QPS at a recall, between its neighbours on the front, log scale; None if out of reach."""
    front: list[tuple[float, float]] = []
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


def _ratio(one: float | None, other: float | None) -> float | None:
    return round(one / other, 3) if one and other else None


class _Searching(tf.Module):
    """A SavedModel with the index alone, and one that answers without searching."""

    def __init__(self, searcher: Any, dim: int) -> None:
        super().__init__()
        self.searcher = searcher
        inputs = tf.TensorSpec([None, dim], tf.float32, name="query")

        @tf.function(input_signature=[inputs])
        def search(query: tf.Tensor) -> dict[str, tf.Tensor]:
            rows, scores = self.searcher.search(query, WIDTH)
            return {"rows": rows, "scores": scores}

        @tf.function(input_signature=[inputs])
        def empty(query: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"rows": tf.cast(query[:, :WIDTH], tf.int32), "scores": query[:, :WIDTH]}

        self.functions = {"search": search, "empty": empty}


def overhead(items: FloatArray, queries: FloatArray, tuned: Any, *, rounds: int) -> dict[str, Any]:
    """The exported operation beside the Python searcher of the same config."""
    module = _Searching(tuned.searcher, items.shape[1])
    with tempfile.TemporaryDirectory() as directory:
        options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
        tf.saved_model.save(module, directory, signatures=module.functions, options=options)
        model = SavedModel(Path(directory))
        one, many = pybind_scann(
            items,
            num_leaves=tuned.chosen.num_leaves,
            leaves_to_search=tuned.chosen.leaves_to_search,
            reorder=tuned.chosen.reorder,
        )
        singles = [queries[i : i + 1] for i in range(min(200, len(queries)))]
        batch = list(batches(queries, _BATCH))
        calls: dict[str, tuple[Callable[[FloatArray], Any], list[FloatArray]]] = {
            "op, one": (model.signatures["search"].run, singles),
            "empty, one": (model.signatures["empty"].run, singles),
            "pybind, one": (lambda query: one(query[0]), singles),
            "op, batch": (model.signatures["search"].run, batch),
            "empty, batch": (model.signatures["empty"].run, batch),
            "pybind, batch": (many, batch),
        }
        medians: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, (call, inputs) in calls.items():
                times = []
                for each in inputs:
                    begin = time.perf_counter()
                    call(each)
                    times.append(1e3 * (time.perf_counter() - begin))
                medians[name].append(statistics.median(times))
        ms = {name: statistics.median(values) for name, values in medians.items()}
        model.close()
    return {
        "ms": {name: round(value, 4) for name, value in ms.items()},
        "exported op over pybind, one query": _ratio(
            ms["op, one"] - ms["empty, one"], ms["pybind, one"]
        ),
        "exported op over pybind, batches of 32": _ratio(
            ms["op, batch"] - ms["empty, batch"], ms["pybind, batch"]
        ),
    }


if __name__ == "__main__":
    run_app(main)
