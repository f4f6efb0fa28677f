"""SIGTERM, which schedulers send before they kill: stop, at once or when the step is done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from configs.errors import Interrupted


class Interruption:
    """Within `with`, SIGTERM raises `Interrupted`; inside of `deferred` it is only noted.

    In a thread other than the main one, where Python takes no handlers, it does nothing.

    Attributes:
        requested: whether a signal came.
    """

    def __init__(self) -> None:
        """Nothing came yet."""
        self.requested = False
        self._is_deferred = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Interruption":
        """Takes over SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, self._handle)
            self._stack.callback(signal.signal, signal.SIGTERM, before)
        return self

    def __exit__(self, *raised: object) -> None:
        """Gives SIGTERM back to whoever had it."""
        self._stack.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, whoever works looks at `requested` when it has come to an end of something."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
        if not self._is_deferred:
            raise Interrupted("SIGTERM outside of training steps; the same command goes on")
