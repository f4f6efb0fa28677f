"""Whether the next call is likely to be alone and short, by those before it."""

import time

# Each call that is alone and short adds a point, up to twice as many as are needed; each that is
# not takes some.
_NEEDED, _TAKEN = 32, 16
_SHORT_BYTES = 16_384
_SHORT_S = 0.002
# After a long one all start anew, and twice as many are needed: until so many were short.
_LONG_S = 0.01
_MOST_NEEDED = 8_192
# A call that comes so soon after another has waited for it: few clients ask so soon again.
_SOON_S = 50e-6


class LoneCalls:
    """Is told of calls by one thread at a time."""

    def __init__(self) -> None:
        """Knows of none: the next one may be anything."""
        self._points = 0
        self._needed = _NEEDED
        self._done_at = float("-inf")

    @property
    def are_likely(self) -> bool:
        """Whether calls have been alone and short of late."""
        return self._points >= self._needed

    def on_call(self, others: int) -> None:
        """A call comes while so many others are there."""
        if others or time.perf_counter() - self._done_at < _SOON_S:
            self._take()
        else:
            self._points = min(self._points + 1, 2 * self._needed)
            if self._points == 2 * self._needed:
                self._needed = max(self._needed // 2, _NEEDED)

    def on_message(self, num_bytes: int) -> None:
        """Its message has so many bytes: if many, it may take long, and so may the next."""
        if num_bytes > _SHORT_BYTES:
            self._points = 0

    def on_done(self, elapsed_s: float) -> None:
        """It has just been worked on for so long, and nothing was received meanwhile."""
        self._done_at = time.perf_counter()
        if elapsed_s > _LONG_S:
            self._points = 0
            self._needed = min(2 * self._needed, _MOST_NEEDED)
        elif elapsed_s > _SHORT_S:
            self._take()

    def _take(self) -> None:
        self._points = max(self._points - _TAKEN, 0)
