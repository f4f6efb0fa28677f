"""Makes a saved graph readable by older TensorFlow: the official images stop at 2.11 with ScaNN."""

from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2

_GRAPH = "saved_model.pb"
# It carries hashes of the graph and of the variables as they were first saved; no loader needs it.
FINGERPRINT = "fingerprint.pb"
# Attributes that say nothing of what is computed, and that older versions refuse to load.
_FOR_DEBUGGING = {"VarHandleOp": ("debug_name",)}


def drop_new_attributes(version_dir: Path) -> int:
    """Drops debugging attributes from the nodes of a SavedModel's graphs.

    Returns:
        How many were dropped.
    """
    path = version_dir / _GRAPH
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    dropped = 0
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
            for node in nodes:
                for name in _FOR_DEBUGGING.get(node.op, ()):
                    if name in node.attr:
                        del node.attr[name]
                        dropped += 1
    path.write_bytes(saved.SerializeToString(deterministic=True))
    (version_dir / FINGERPRINT).unlink(missing_ok=True)
    return dropped
