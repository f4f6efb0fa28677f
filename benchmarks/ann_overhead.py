"""What TensorFlow adds to a search: the exported operation beside ScaNN's Python searcher."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.ann_curves import batches, one_core
from benchmarks.ann_peers import WIDTH, FloatArray, pybind_scann
from serving.served_search import served
from serving.tuning import Tuned, search_as_tuned

_CALLS = 200


def overhead(
    items: FloatArray, queries: FloatArray, tuned: Tuned, *, rounds: int
) -> dict[str, float]:
    """Milliseconds of a call, medians: the exported operation, ScaNN's own searcher, no search."""
    inputs = tf.TensorSpec([None, items.shape[1]], tf.float32, name="query")

    @tf.function(input_signature=[inputs])
    def empty(query: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"rows": tf.cast(query[:, :WIDTH], tf.int32), "scores": query[:, :WIDTH]}

    search = search_as_tuned(tuned.searcher, WIDTH)
    with served(tuned.searcher, {"search": search, "empty": empty}) as op:
        one, many = pybind_scann(
            items,
            num_leaves=tuned.chosen.num_leaves,
            leaves_to_search=tuned.chosen.leaves_to_search,
            reorder=tuned.chosen.reorder,
        )
        singles = [queries[i : i + 1] for i in range(min(_CALLS, len(queries)))]
        batch = list(batches(queries))
        calls: dict[str, tuple[Callable[[FloatArray], Any], list[FloatArray]]] = {
            "op, one": (op["search"], singles),
            "empty, one": (op["empty"], singles),
            "pybind, one": (lambda query: one(query[0]), singles),
            "op, batch": (op["search"], batch),
            "empty, batch": (op["empty"], batch),
            "pybind, batch": (many, batch),
        }
        medians: dict[str, list[float]] = {name: [] for name in calls}
        with one_core():
            for _ in range(rounds + 1):
                for name, (call, inputs) in calls.items():
                    times = []
                    for each in inputs:
                        begin = time.perf_counter()
                        call(each)
                        times.append(1e3 * (time.perf_counter() - begin))
                    medians[name].append(statistics.median(times))
    # The first round fetches pages and warms caches.
    return {name: statistics.median(values[1:]) for name, values in medians.items()}
