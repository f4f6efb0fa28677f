"""A lock that Beam's local runner lacks when it has several workers.

`BundleContextManager.get_buffer` (Beam 2.77) looks whether a stage's output has a buffer and then
makes one; with several workers a thread for each does so. Two that find none at once make one each,
and what went into the first is gone without a word.
"""

import threading
from typing import Any

from apache_beam.runners.portability.fn_api_runner.execution import BundleContextManager

_ONE_AT_A_TIME = threading.Lock()
_unlocked = BundleContextManager.get_buffer


def _get_buffer(manager: BundleContextManager, buffer_id: bytes, transform_id: str) -> Any:
    with _ONE_AT_A_TIME:
        return _unlocked(manager, buffer_id, transform_id)


def make_safe() -> None:
    """Lets the local runner make each buffer once, whatever the number of workers."""
    BundleContextManager.get_buffer = _get_buffer
