"""What TensorFlow adds to a search: the exported operation beside ScaNN's Python searcher."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.ann_curves import batches, one_core
from benchmarks.ann_peers import WIDTH, FloatArray, pybind_scann
from serving.saved_model import SavedModel
from serving.tuning import Tuned

_CALLS = 200


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


def overhead(
    items: FloatArray, queries: FloatArray, tuned: Tuned, *, rounds: int
) -> dict[str, float]:
    """Milliseconds of a call, medians: the exported operation, ScaNN's own searcher, no search."""
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
        singles = [queries[i : i + 1] for i in range(min(_CALLS, len(queries)))]
        batch = list(batches(queries))
        calls: dict[str, tuple[Callable[[FloatArray], Any], list[FloatArray]]] = {
            "op, one": (model.signatures["search"].run, singles),
            "empty, one": (model.signatures["empty"].run, singles),
            "pybind, one": (lambda query: one(query[0]), singles),
            "op, batch": (model.signatures["search"].run, batch),
            "empty, batch": (model.signatures["empty"].run, batch),
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
        model.close()
    # The first round fetches pages and warms caches.
    return {name: statistics.median(values[1:]) for name, values in medians.items()}
