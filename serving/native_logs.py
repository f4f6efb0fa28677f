"""What TensorFlow's and ScaNN's C++ may write to stderr: errors, no running commentary.

Importing this quiets TensorFlow; ScaNN's operations are to be had from here alone.

`TF_CPP_MIN_LOG_LEVEL` (`configs.environment`) stops what goes through TensorFlow's own logging;
parts of it and all of ScaNN log through Abseil, of which each shared library has its own copy and
which no environment variable tells.
"""

import ctypes
import importlib
from pathlib import Path
from typing import Any

import tensorflow as tf

# absl::SetMinLogLevel(LogSeverityAtLeast) of Abseil 20250127, as in TensorFlow 2.20 and scann 1.4.
_SET_MIN_LOG_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
_ERROR = 2  # absl::LogSeverityAtLeast::kError
TENSORFLOW = Path(tf.sysconfig.get_lib()) / "libtensorflow_framework.so.2"


def errors_only(library: Path) -> bool:
    """Makes a loaded shared library log errors alone; says whether it has that Abseil."""
    try:
        set_min_log_level = ctypes.CDLL(str(library))[_SET_MIN_LOG_LEVEL]
    except (OSError, AttributeError):  # of another release: it goes on talking
        return False
    set_min_log_level(ctypes.c_int(_ERROR))
    return True


@tf.autograph.experimental.do_not_convert
def scann_ops() -> Any:
    """ScaNN's TensorFlow operations, registered, with errors alone in its log.

    Raises:
        ImportError: ScaNN is not installed.
        NotFoundError: its operations were built for another TensorFlow.
    """
    module = importlib.import_module("scann.scann_ops.py.scann_ops")
    errors_only(Path(module.__file__ or "").parents[1] / "cc" / "_scann_ops.so")
    return module


errors_only(TENSORFLOW)
