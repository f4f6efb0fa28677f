"""Concurrent requests answered by one run of the graph, as TF Serving's batching does.

A run costs much the same for one row as for a few, so that under load requests wait a moment for
others of the same signature and are run together. Only requests of equal inner shapes meet: nothing
is padded, so every row is computed as it would be alone, up to the rounding of floats.
"""

import threading
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from serving.saved_model import Signature

Arrays = list[np.ndarray]


class _Batch:
    """Requests that will be run together; the one that opened it runs it for all."""

    def __init__(self) -> None:
        self.members: list[Arrays] = []
        self.rows = 0
        self.is_full = threading.Event()
        self.is_done = threading.Event()
        self.outputs: Arrays | None = None  # None: each has to run alone.


class Batcher:
    """Runs signatures, several requests at a time."""

    def __init__(
        self, *, max_rows: int, timeout_s: float, on_batch: Callable[[int, float], None]
    ) -> None:
        """Waits for nothing yet.

        Args:
            max_rows: of a run; a batch that has them is run at once.
            timeout_s: how long the first request of a batch waits for others.
            on_batch: called with the rows of each run and how long, in s, its first request waited.
        """
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._on_batch = on_batch
        self._lock = threading.Lock()  # Guards the open batches and their members.
        self._open: dict[tuple[object, ...], _Batch] = {}

    def run(self, signature: Signature, arrays: Arrays) -> Arrays:
        """What `signature.run(*arrays)` returns; the signature's model must stay loaded meanwhile.

        Raises:
            tf.errors.OpError: an op refuses this request; other requests are not held to it.
        """
        rows = _rows(arrays)
        if rows is None or not 0 < rows < self._max_rows:
            return signature.run(*arrays)
        key = (id(signature), *((array.shape[1:], array.dtype) for array in arrays))
        with self._lock:
            batch = self._open.get(key)
            if batch is not None and batch.rows + rows > self._max_rows:
                batch.is_full.set()
                batch = None
            is_first = batch is None
            if batch is None:
                batch = self._open[key] = _Batch()
            place = batch.rows
            batch.members.append(arrays)
            batch.rows += rows
            if batch.rows == self._max_rows:
                batch.is_full.set()
        if is_first:
            self._run_all(signature, key, batch)
        else:
            batch.is_done.wait()
        if batch.outputs is None:
            return signature.run(*arrays)
        return [output[place : place + rows] for output in batch.outputs]

    def _run_all(self, signature: Signature, key: tuple[object, ...], batch: _Batch) -> None:
        begin = time.perf_counter()
        batch.is_full.wait(self._timeout_s)
        with self._lock:
            if self._open.get(key) is batch:
                del self._open[key]
        waited_s = time.perf_counter() - begin
        try:
            if len(batch.members) > 1:
                columns = zip(*batch.members, strict=True)
                outputs = signature.run(*(np.concatenate(column) for column in columns))
                # Not a row for each: an output of the whole batch cannot be told apart.
                if all(output.ndim and len(output) == batch.rows for output in outputs):
                    batch.outputs = outputs
            self._on_batch(batch.rows, waited_s)
        except tf.errors.OpError:
            # One request's fault is not the others': each runs alone and gets its own.
            batch.outputs = None
        finally:
            batch.is_done.set()


def _rows(arrays: Arrays) -> int | None:
    """The rows that all inputs have, or None where they differ."""
    sizes = {len(array) if array.ndim else None for array in arrays}
    return sizes.pop() if len(sizes) == 1 else None
