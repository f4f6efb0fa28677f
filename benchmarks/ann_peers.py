"""Indices over the same vectors, each as a set of settings that search a batch of queries."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Found = npt.NDArray[np.float32]  # dot products, best first
Search = Callable[[FloatArray], Found]

WIDTH = 100
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


def faiss_hnsw(items: FloatArray, *, threads: int) -> Built:
    """HNSW of faiss, M 16, efConstruction 200."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(items.shape[1], _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _HNSW_BUILD
    _, build_s = _timed(lambda: index.add(items))
    faiss.omp_set_num_threads(1)

    def with_ef(ef: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[0]

    return Built(
        name="faiss HNSW",
        build_s=build_s,
        size_bytes=len(faiss.serialize_index(index)),
        settings={f"efSearch {ef}": with_ef(ef) for ef in (60, 80, 100, 140, 200, 300)},
    )


def faiss_pq(items: FloatArray, *, threads: int) -> Built:
    """IVF-PQ-fastscan of faiss, 4 bits for two dimensions, refined with the float vectors."""
    import faiss

    faiss.omp_set_num_threads(threads)
    count, dim = items.shape
    leaves = round(count**0.5)
    index = faiss.index_factory(
        dim, f"IVF{leaves},PQ{dim // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT
    )

    def build() -> None:
        index.train(items)
        index.add(items)

    _, build_s = _timed(build)
    faiss.omp_set_num_threads(1)

    def with_setting(nprobe: int, factor: int) -> Search:
        inner = faiss.SearchParametersIVF(nprobe=nprobe)
        parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[0]

    shares = (0.01, 0.02, 0.04, 0.08)
    return Built(
        name="faiss IVF-PQ-fastscan, refined",
        build_s=build_s,
        size_bytes=len(faiss.serialize_index(index)),
        settings={
            f"nprobe {max(1, round(s * leaves))}, refine {f}": with_setting(
                max(1, round(s * leaves)), f
            )
            for s in shares
            for f in (4, 8, 16, 32)
        },
    )


def tfrs_scann(items: FloatArray) -> Built:
    """TFRS's ScaNN layer as it comes."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    layer = tfrs.layers.factorized_top_k.ScaNN(k=WIDTH)
    _, build_s = _timed(lambda: layer.index(tf.constant(items)))
    search = tf.function(lambda queries: layer(queries)[0], reduce_retracing=True)
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
            training_sample_size=index.TRAINING_SAMPLE,
            quantize_centroids=True,
        )
    searcher = (
        builder.score_ah(
            index.DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=index.ANISOTROPIC_THRESHOLD,
            training_sample_size=index.TRAINING_SAMPLE,
        )
        .reorder(reorder)
        .build()
    )
    return searcher.search, searcher.search_batched


def batches(queries: FloatArray, size: int) -> Iterator[FloatArray]:
    """The queries, `size` at a time; what does not fill a batch is left out."""
    for start in range(0, len(queries) - size + 1, size):
        yield queries[start : start + size]
