"""What TensorFlow's C++ says of its own on stderr."""

import ctypes
from pathlib import Path

# absl::SetMinLogLevel of the library that TensorFlow 2.20 brings along. `TF_CPP_MIN_LOG_LEVEL` does
# not reach what is logged before `absl::InitializeLog`, which Python cannot call.
_SET_MIN_LOG_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
_ERROR = 2  # absl::LogSeverityAtLeast::kError.


def only_errors() -> None:
    """Leaves out its remarks and warnings, such as the one on MLIR at each first graph.

    With another TensorFlow, whose library has no such name, they are there again: no harm.
    """
    import tensorflow as tf

    library = Path(tf.__file__).with_name("libtensorflow_framework.so.2")
    try:
        set_min_log_level = ctypes.CDLL(str(library))[_SET_MIN_LOG_LEVEL]
    except (OSError, AttributeError):
        return
    set_min_log_level(_ERROR)
