"""A search as it is served: saved, loaded, and called as `serving.server` calls a signature."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from serving.saved_model import SavedModel

Run = Callable[..., list[np.ndarray]]


@contextmanager
def served(owner: Any, functions: Mapping[str, Any]) -> Iterator[dict[str, Run]]:
    """What answers each of the functions once they are exported.

    Called eagerly instead, a function hands its operations from thread to thread: 0.25 ms, where a
    partitioned index answers in 0.04.

    Args:
        owner: has the variables that the functions use. They are written below the system's
            directory of temporary files and held once more meanwhile.
        functions: `tf.function`s with input signatures, by name.

    Yields:
        By name, a call that takes arrays in the order of the inputs' names and returns them in
        the order of the outputs' names.

    Raises:
        UserError: they cannot be written there.
    """
    module = tf.Module()
    module.owner = owner
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    try:
        with tempfile.TemporaryDirectory() as directory:
            tf.saved_model.save(module, directory, signatures=dict(functions), options=options)
            model = SavedModel(Path(directory))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"TMPDIR: found {tempfile.gettempdir()}, expected a directory with room for a copy of"
            f" the index: {error}"
        ) from error
    try:
        yield {name: model.signatures[name].run for name in functions}
    finally:
        model.close()
