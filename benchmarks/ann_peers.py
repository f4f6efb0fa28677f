"""Indices over the same vectors, each as a set of settings that search a batch of queries."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]  # of the items found, best first
Search = Callable[[FloatArray], Rows]

WIDTH = 100
BATCH = 32
# 16 links and a build that looks at 200: the setting that hnswlib and faiss are compared with.
_HNSW_LINKS, _HNSW_BUILD = 16, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An index.

    Attributes:
        name: of the system.
        build_s: seconds to build it.
        size_bytes: of what it keeps, the vectors themselves included; 0: not known.
        settings: by description, what searches a batch for `WIDTH` items.
    """

    name: str
    build_s: float
    size_bytes: int
    settings: dict[str, Search]


def _timed(build: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    made = build()
    return made, time.perf_counter() - begin


def _kept(path: Path, build: Callable[[], Any]) -> tuple[Any, float, int]:
    """A faiss index, the seconds that its build took, and its bytes; of an earlier run if there."""
    import faiss

    times = path.with_suffix(".json")
    if not times.exists():
        index, build_s = _timed(build)
        faiss.write_index(index, str(path))
        times.write_text(json.dumps({"build_s": build_s}), encoding="utf-8")
    index = faiss.read_index(str(path))
    return index, json.loads(times.read_text(encoding="utf-8"))["build_s"], path.stat().st_size


def faiss_hnsw(items: FloatArray, *, threads: int, keep: Path) -> Built:
    """HNSW of faiss, M 16, efConstruction 200; kept in a file below `keep`."""
    import faiss

    def build() -> Any:
        index = faiss.IndexHNSWFlat(items.shape[1], _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _HNSW_BUILD
        index.add(items)
        return index

    faiss.omp_set_num_threads(threads)
    index, build_s, size = _kept(keep / "hnsw.faiss", build)
    faiss.omp_set_num_threads(1)

    def with_ef(ef: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[1]

    return Built(
        name="faiss HNSW",
        build_s=build_s,
        size_bytes=size,
        settings={f"efSearch {ef}": with_ef(ef) for ef in (60, 80, 100, 140, 200, 300, 500)},
    )


def faiss_pq(items: FloatArray, *, threads: int, keep: Path) -> Built:
    """IVF-PQ-fastscan of faiss, 4 bits for two dimensions, refined with the float vectors."""
    import faiss

    count, dim = items.shape
    leaves = round(count**0.5)

    def build() -> Any:
        name = f"IVF{leaves},PQ{dim // 2}x4fs,RFlat"
        index = faiss.index_factory(dim, name, faiss.METRIC_INNER_PRODUCT)
        index.train(items)
        index.add(items)
        return index

    faiss.omp_set_num_threads(threads)
    index, build_s, size = _kept(keep / "ivfpq.faiss", build)
    faiss.omp_set_num_threads(1)

    def with_setting(nprobe: int, factor: int) -> Search:
        inner = faiss.SearchParametersIVF(nprobe=nprobe)
        parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[1]

    probes = [max(1, round(share * leaves)) for share in (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)]
    return Built(
        name="faiss IVF-PQ-fastscan, refined",
        build_s=build_s,
        size_bytes=size,
        settings={
            f"nprobe {nprobe}, refine {factor}": with_setting(nprobe, factor)
            for nprobe in probes
            for factor in (2, 4, 8, 16, 32)
        },
    )


def tfrs_scann(items: FloatArray) -> Built:
    """TFRS's ScaNN layer as it comes."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    layer = tfrs.layers.factorized_top_k.ScaNN(k=WIDTH)
    _, build_s = _timed(lambda: layer.index(tf.constant(items)))
    search = tf.function(lambda queries: layer(queries)[1], reduce_retracing=True)
    return Built(
        name="TFRS ScaNN layer, defaults",
        build_s=build_s,
        size_bytes=0,
        settings={"defaults": lambda queries: search(tf.constant(queries)).numpy()},
    )


def pybind_scann(
    items: FloatArray, *, num_leaves: int, leaves_to_search: int, reorder: int
) -> tuple[Callable[[FloatArray], Any], Callable[[FloatArray], Any]]:
    """ScaNN's Python searcher with the config of the exported index: one query, and a batch."""
    from scann.scann_ops.py import scann_ops_pybind

    from serving import index

    builder = scann_ops_pybind.builder(items, WIDTH, "dot_product")
    if num_leaves:
        builder = builder.tree(
            num_leaves=num_leaves,
            num_leaves_to_search=leaves_to_search,
            training_sample_size=index.PARTITION_SAMPLE,
            training_iterations=index.PARTITION_ITERATIONS,
            quantize_centroids=index.QUANTIZED_CENTROIDS,
        )
    searcher = (
        builder.score_ah(
            index.DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=index.ANISOTROPIC_THRESHOLD,
            training_sample_size=index.CODEBOOK_SAMPLE,
        )
        .reorder(reorder)
        .build()
    )
    return searcher.search, searcher.search_batched


def batches(queries: FloatArray, size: int) -> Iterator[FloatArray]:
    """The queries, `size` at a time; what does not fill a batch is left out."""
    for start in range(0, len(queries) - size + 1, size):
        yield queries[start : start + size]


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
