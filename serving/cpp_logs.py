"""What TensorFlow's and ScaNN's C++ say of their own on stderr."""

import ctypes
import importlib
from pathlib import Path
from typing import Any

# absl::SetMinLogLevel of the libraries that TensorFlow 2.20 and scann 1.4 bring along, each with a
# copy of its own. `TF_CPP_MIN_LOG_LEVEL` does not reach what is logged before
# `absl::InitializeLog`, which Python cannot call.
_SET_MIN_LOG_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
_ERROR = 2  # absl::LogSeverityAtLeast::kError.


def only_errors() -> bool:
    """Leaves out TensorFlow's remarks and warnings, such as the one on MLIR at each first graph.

    Returns:
        Whether it could: with another TensorFlow, whose library has no such name, they are there
        again, which does no harm.
    """
    import tensorflow as tf

    return _only_errors_of(Path(tf.__file__).with_name("libtensorflow_framework.so.2"))


def scann_ops() -> Any:
    """ScaNN's TensorFlow operations, registered; of their remarks, too, only errors are left.

    Raises:
        ImportError: ScaNN is not installed.
        NotFoundError: its operations were built for another TensorFlow.
    """
    only_errors()
    module = importlib.import_module("scann.scann_ops.py.scann_ops")
    _only_errors_of(Path(module.__file__ or "").parents[1] / "cc" / "_scann_ops.so")
    return module


def _only_errors_of(library: Path) -> bool:
    try:
        set_min_log_level = ctypes.CDLL(str(library))[_SET_MIN_LOG_LEVEL]
    except (OSError, AttributeError):
        return False
    set_min_log_level(_ERROR)
    return True
