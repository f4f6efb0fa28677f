"""Requests that wait while the graph runs are answered by its next run, as one batch.

A run costs little more for a few rows than for one. A request that comes alone is run at once and
so loses nothing to others; those that come together, or while all places are taken, are run
together as soon as one is free. Only requests of equal inner shapes meet: nothing is padded, so
every row is computed as it would be alone, up to the rounding of floats.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field

import numpy as np

from serving.saved_model import Signature

Arrays = list[np.ndarray]
_Key = tuple[object, ...]


def _always() -> bool:
    return True


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """A run of a signature that a request asks for.

    Attributes:
        signature: of a model that stays loaded until `done` is called.
        arrays: its inputs.
        done: called once, from any thread, with the outputs, or with the exception that the run
            ended in, or with None where it was not wanted any more. It raises nothing.
        is_wanted: asked before the run.
    """

    signature: Signature
    arrays: Arrays
    done: Callable[[Arrays | Exception | None], None]
    is_wanted: Callable[[], bool] = _always
    rows: int | None = field(init=False)
    queued_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Counts rows."""
        self.rows = _rows(self.arrays)
        self.queued_at = time.perf_counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that was made.

    Attributes:
        rows: of all its requests.
        waited_s: how long the first of them waited.
        elapsed_s: how long it took, with the making of its answers.
    """

    rows: int
    waited_s: float
    elapsed_s: float


class Batcher:
    """Runs signatures, at most so many at a time, and together what has to wait."""

    def __init__(
        self,
        *,
        max_rows: int,
        timeout_s: float,
        runs: int,
        on_run: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Has nothing to do yet.

        Args:
            max_rows: of a run of several requests; 1: each runs alone.
            timeout_s: how long a place that is free waits for more rows before it runs fewer than
                `max_rows`; 0: not at all.
            runs: at the same time.
            on_run: called after each run.
        """
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._runs = runs
        self._on_run = on_run
        self._running = 0
        self._waiting: collections.OrderedDict[_Key, collections.deque[Work]] = (
            collections.OrderedDict()
        )
        # Guards the two above.
        self._changed = threading.Condition(threading.Lock())
        self._pool = futures.ThreadPoolExecutor(runs, thread_name_prefix="run")

    def submit(self, work: Work) -> None:
        """Leaves the work to the next `run_some`."""
        can_meet = work.rows is not None and 0 < work.rows < self._max_rows
        # A key of its own keeps the others away.
        key = _key(work) if can_meet else (id(work),)
        with self._changed:
            self._waiting.setdefault(key, collections.deque()).append(work)
            if self._timeout_s:
                self._changed.notify_all()

    def run_some(self) -> bool:
        """Runs, in this thread, what has waited longest and what it meets.

        Returns:
            Whether it did: False if nothing waits, or no place is free. Then those that run now
            must look again when they are done.
        """
        with self._changed:
            if self._running == self._runs:
                return False
            self._running += 1
            batch = self._take()
            if not batch:
                # Under the same lock: a work that comes now finds the place free again.
                self._running -= 1
                return False
        try:
            self._run(batch)
        finally:
            with self._changed:
                self._running -= 1
        return True

    def run(self, work: Work) -> None:
        """Submits the work and has it run by a thread of the batcher's own."""
        self.submit(work)
        self._pool.submit(self._run_all)

    def _run_all(self) -> None:
        while self.run_some():
            pass

    def has_work(self) -> bool:
        """Whether a request waits that `run_some` would run."""
        return bool(self._waiting) and self._running < self._runs

    def waiting(self) -> int:
        """How many requests wait for a place."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Ends the threads; nothing is submitted any more."""
        self._pool.shutdown()

    def _run(self, batch: Sequence[Work]) -> None:
        wanted = []
        for work in batch:
            if work.is_wanted():
                wanted.append(work)
            else:
                work.done(None)
        if not wanted:
            return
        begin = time.perf_counter()
        _run(wanted)
        self._on_run(
            Run(
                rows=sum(work.rows or 1 for work in wanted),
                waited_s=begin - wanted[0].queued_at,
                elapsed_s=time.perf_counter() - begin,
            )
        )

    def _take(self) -> list[Work]:
        """The requests that waited longest and those they meet; none, if none waits."""
        while True:
            if not self._waiting:
                return []
            key, queue = self._first()
            patience_s = self._patience_s(queue)
            if patience_s <= 0:
                break
            self._changed.wait(patience_s)
        batch = [queue.popleft()]
        rows = batch[0].rows or 1
        while queue and rows + (queue[0].rows or 1) <= self._max_rows:
            batch.append(queue.popleft())
            rows += batch[-1].rows or 1
        if queue:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        return batch

    def _first(self) -> tuple[_Key, collections.deque[Work]]:
        """The requests that may be run first."""
        if not self._timeout_s:
            return next(iter(self._waiting.items()))
        return min(self._waiting.items(), key=lambda item: self._patience_s(item[1]))

    def _patience_s(self, queue: collections.deque[Work]) -> float:
        """How long requests that meet are still held back for others."""
        if not self._timeout_s or sum(w.rows or self._max_rows for w in queue) >= self._max_rows:
            return 0.0
        return queue[0].queued_at + self._timeout_s - time.perf_counter()


def _run(batch: Sequence[Work]) -> None:
    """Runs requests that meet, and calls each one's `done`."""
    first = batch[0]
    if len(batch) == 1:
        first.done(outcome_of(first))
        return
    try:
        columns = zip(*(work.arrays for work in batch), strict=True)
        outputs = first.signature.run(*(np.concatenate(column) for column in columns))
        rows = sum(work.rows or 0 for work in batch)
        # Not a row for each: an output of the whole batch cannot be told apart.
        are_rows = all(output.ndim and len(output) == rows for output in outputs)
    except Exception:  # One request's fault is not the others': each runs alone and gets its own.
        are_rows = False
    if not are_rows:
        for work in batch:
            work.done(outcome_of(work))
        return
    place = 0
    for work in batch:
        end = place + (work.rows or 0)
        work.done([output[place:end] for output in outputs])
        place = end


def outcome_of(work: Work) -> Arrays | Exception:
    """Runs one request: its outputs, or the exception that the run ended in."""
    try:
        return work.signature.run(*work.arrays)
    except Exception as error:
        return error


def _key(work: Work) -> _Key:
    """What requests that can be run together have in common; their dtypes are the signature's."""
    return (id(work.signature), *[array.shape[1:] for array in work.arrays])


def _rows(arrays: Arrays) -> int | None:
    """The rows that all inputs have, or None where they differ."""
    sizes = {array.shape[:1] for array in arrays}
    if len(sizes) != 1:
        return None
    (rows,) = sizes.pop() or (None,)
    return rows
