"""Steps whose loss stands out from those before."""

import collections
import statistics

WINDOW = 50
"""Steps that a loss is compared with."""

FACTOR = 1.2
"""Of their median; a loss above it is a spike."""


class LossSpikes:
    """Counts losses above `FACTOR` times the median of the `WINDOW` before them.

    The window fills first, so that the fall of the first steps is none. A median does not move by
    the spikes themselves, and a loss that has settled on a higher level stops counting once half
    of the window is of that level.
    """

    def __init__(self) -> None:
        """Starts with nothing to compare with."""
        self._before: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._count = 0

    def add(self, loss: float) -> None:
        """Takes the next step's loss, a finite number."""
        if len(self._before) == WINDOW and loss > FACTOR * statistics.median(self._before):
            self._count += 1
        self._before.append(loss)

    def take(self) -> int:
        """How many there were since the last call."""
        count, self._count = self._count, 0
        return count
