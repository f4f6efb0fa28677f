"""The variables of a SavedModel as values: read by name, written with some of them changed.

A version with more items differs from the one before in its variables alone, so it needs no
tracing, no training and no k-means: its graph is copied and its checkpoint is written anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from configs.errors import UserError

_PREFIX = Path("variables", "variables")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


class Bundle:
    """All values of a version's checkpoint, by checkpoint key."""

    def __init__(self, version_dir: Path) -> None:
        """Reads everything.

        Raises:
            UserError: the checkpoint is missing or damaged.
        """
        try:
            reader = tf.train.load_checkpoint(str(version_dir / _PREFIX))
            self.values: dict[str, Any] = {
                key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
            }
        # TensorFlow's reader says some of what is wrong in Python's own errors.
        except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
            raise UserError(f"{version_dir / _PREFIX}: cannot be read: {error}") from None
        self._graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            self.values[_OBJECT_GRAPH]
        )

    def key(self, *path: str, attribute: str = "VARIABLE_VALUE") -> str:
        """The checkpoint key of an attribute of the object that a path of names leads to.

        Raises:
            KeyError: there is none.
        """
        node = self._graph.nodes[0]
        for name in path:
            children = {c.local_name: c.node_id for c in node.children}
            node = self._graph.nodes[children[name]]
        keys = {a.name: a.checkpoint_key for a in node.attributes}
        if attribute in keys:
            return keys[attribute]
        # Tables have one attribute whose key is the stem of those of their keys and values.
        found = [key for key in self.values if any(key == f"{k}{attribute}" for k in keys.values())]
        if len(found) != 1:
            raise KeyError(f"{'/'.join(path)} has no {attribute}: {sorted(keys.values())}")
        return found[0]

    def children(self, *path: str) -> list[str]:
        """Names of the objects below the one that a path leads to."""
        node = self._graph.nodes[0]
        for name in path:
            node = self._graph.nodes[{c.local_name: c.node_id for c in node.children}[name]]
        return [c.local_name for c in node.children]

    def write(self, version_dir: Path, changed: Mapping[str, np.ndarray]) -> None:
        """Writes the checkpoint of a version directory.

        Args:
            version_dir: which has none yet.
            changed: values to write instead, by checkpoint key.
        """
        values = {**self.values, **changed}
        prefix = version_dir / _PREFIX
        prefix.parent.mkdir()
        names = sorted(values)
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(values[name]) for name in names],
        )
