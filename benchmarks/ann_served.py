"""A search as it is served: saved, loaded, and called as `serving.server` calls a signature."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.saved_model import SavedModel

Run = Callable[..., list[np.ndarray]]


def served(owner: Any, functions: Mapping[str, Any]) -> dict[str, Run]:
    """What answers each of the functions once they are exported.

    Called eagerly instead, a function hands its operations from thread to thread, which takes as
    long as a search of 32 queries in a million items.

    Args:
        owner: has the variables that the functions use.
        functions: `tf.function`s with input signatures, by name.

    Returns:
        By name, a call that takes arrays in the order of the inputs' names and returns them in
        the order of the outputs' names. It holds a copy of the variables for as long as it lives.
    """
    module = tf.Module()
    module.owner = owner
    with tempfile.TemporaryDirectory() as directory:
        options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
        tf.saved_model.save(module, directory, signatures=dict(functions), options=options)
        model = SavedModel(Path(directory))
    # Not `signature.run` alone: the session ends with the model.
    return {name: _run_of(model, name) for name in functions}


def _run_of(model: SavedModel, name: str) -> Run:
    return lambda *arrays: model.signatures[name].run(*arrays)
