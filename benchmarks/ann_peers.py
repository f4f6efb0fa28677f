"""Indices of others over the same vectors, each as a set of settings that search a batch."""

import importlib.util
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.served_search import served

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]  # of the items found, best first
Search = Callable[[FloatArray], Rows]

WIDTH = 100
# 16 links and a build that looks at 200: the setting that hnswlib and faiss are compared with.
_HNSW_LINKS, _HNSW_BUILD = 16, 200
_EF_SEARCH = (100, 120, 140, 170, 200, 300, 500)  # at least the lists' width
_PROBED_SHARES = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.04)
_REFINE_FACTORS = (1, 1.5, 2, 3, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An index.

    Attributes:
        name: of the system.
        variant: which of several builds of the same system; '' where there is one.
        settings: by description, what searches a batch for `WIDTH` items.
        build_s: seconds to build it; 0: not measured in this run.
        size_bytes: of what it keeps, the vectors themselves included; 0: not known.
    """

    name: str
    variant: str = ""
    settings: dict[str, Search]
    build_s: float = 0.0
    size_bytes: int = 0


def timed(build: Callable[[], Any]) -> tuple[Any, float]:
    """What a call makes, and the seconds it takes."""
    begin = time.perf_counter()
    made = build()
    return made, time.perf_counter() - begin


def faiss_hnsw(items: FloatArray, *, threads: int) -> Built:
    """HNSW of faiss, M 16, efConstruction 200."""
    import faiss

    def build() -> Any:
        index = faiss.IndexHNSWFlat(items.shape[1], _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _HNSW_BUILD
        index.add(items)
        return index

    faiss.omp_set_num_threads(threads)
    index, build_s = timed(build)
    faiss.omp_set_num_threads(1)

    def with_ef(ef: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[1]

    return Built(
        name="faiss HNSW",
        settings={f"efSearch {ef}": with_ef(ef) for ef in (60, 80, *_EF_SEARCH)},
        build_s=build_s,
    )


def hnswlib_hnsw(items: FloatArray, *, threads: int, keep: Path) -> Built | None:
    """HNSW of hnswlib, built alike; kept in a file below `keep`. None where it is not installed."""
    if importlib.util.find_spec("hnswlib") is None:
        return None
    import hnswlib

    path = keep / "hnswlib.bin"
    index = hnswlib.Index(space="ip", dim=items.shape[1])
    if path.exists():
        index.load_index(str(path))
    else:
        index.init_index(len(items), M=_HNSW_LINKS, ef_construction=_HNSW_BUILD)
        index.add_items(items, num_threads=threads)
        index.save_index(str(path))
    index.set_num_threads(1)

    def with_ef(ef: int) -> Search:
        def search(queries: FloatArray) -> Rows:
            index.set_ef(ef)
            found: Rows = index.knn_query(queries, WIDTH)[0].astype(np.int64)
            return found

        return search

    return Built(name="hnswlib", settings={f"ef {ef}": with_ef(ef) for ef in _EF_SEARCH})


def faiss_pq(items: FloatArray, *, threads: int, keep: Path) -> list[Built]:
    """IVF-PQ-fastscan of faiss, 4 bits for two dimensions, refined with the float vectors.

    With √n, 2√n and 4√n lists, codes of the vectors and codes of what is left of them beside their
    list's centroid; what all have in common, centroids and float vectors, is made once. Codes are
    kept in files below `keep`.
    """
    import faiss

    exact = faiss.IndexFlatIP(items.shape[1])
    exact.add(items)
    variants = []
    for factor in (1, 2, 4):
        lists = round(factor * len(items) ** 0.5)
        quantizer = None
        for residual in (False, True):
            path = keep / f"ivfpq-{lists}-{'residual' if residual else 'plain'}.faiss"
            if not path.exists():
                faiss.omp_set_num_threads(threads)
                index = _trained_pq(items, lists, quantizer=quantizer, residual=residual)
                faiss.write_index(index, str(path))
            index = faiss.read_index(str(path))
            quantizer = index.quantizer
            variants.append(
                Built(
                    name="faiss IVF-PQ-fastscan, refined",
                    variant=f"{lists} lists, codes of {'residuals' if residual else 'vectors'}",
                    settings=_pq_settings(faiss.IndexRefine(index, exact), lists),
                    size_bytes=path.stat().st_size + items.nbytes,
                )
            )
    faiss.omp_set_num_threads(1)
    return variants


def _trained_pq(items: FloatArray, lists: int, *, quantizer: Any, residual: bool) -> Any:
    import faiss

    dim = items.shape[1]
    name = f"IVF{lists},PQ{dim // 2}x4fs{'r' if residual else ''}"
    index = faiss.index_factory(dim, name, faiss.METRIC_INNER_PRODUCT)
    if quantizer is not None:  # which is then not trained again
        index.quantizer.add(quantizer.reconstruct_n(0, lists))
    index.train(items)
    index.add(items)
    return index


def _pq_settings(index: Any, lists: int) -> dict[str, Search]:
    import faiss

    def with_setting(nprobe: int, factor: float) -> Search:
        inner = faiss.SearchParametersIVF(nprobe=nprobe)
        parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        return lambda queries: index.search(queries, WIDTH, params=parameters)[1]

    return {
        f"nprobe {nprobe}, refine {factor}": with_setting(nprobe, factor)
        for nprobe in sorted({max(1, round(share * lists)) for share in _PROBED_SHARES})
        for factor in _REFINE_FACTORS
    }


def tfrs_scann(items: FloatArray, *, until: ExitStack) -> Built:
    """TFRS's ScaNN layer as it comes; it answers until then."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    layer = tfrs.layers.factorized_top_k.ScaNN(k=WIDTH)
    layer.index(tf.constant(items))

    @tf.function(
        input_signature=[tf.TensorSpec([None, items.shape[1]], tf.float32)], autograph=False
    )
    def search(queries: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, rows = layer(queries)
        return {"rows": rows, "scores": scores}

    run = until.enter_context(served(layer, {"search": search}))["search"]
    return Built(
        name="TFRS ScaNN layer, defaults", settings={"defaults": lambda queries: run(queries)[0]}
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
            **index.PARTITIONING,
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
