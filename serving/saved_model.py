"""A SavedModel version, loaded and compiled for answering requests.

It runs in a `tf.compat.v1.Session`, as in TF Serving, and not through `tf.saved_model.load`, for
two reasons. Resources (tables, indices) that carry the same shared name in two versions stay
apart while both are loaded. And a request costs a tenth: with 50 history items and 100 answers,
NumPy in and out, 0.1 ms against 1.1 ms through the eager signature function (2 cores).
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import config_pb2

# The public tf.compat.v1.saved_model.load is the same loader with a deprecation warning.
from tensorflow.python.saved_model import loader_impl

from serving.cpp_logs import scann_ops
from serving.tensor_codec import SERVABLE_DTYPES, decode_tensor
from serving.versions import LoadError

_SCANN_OP_PREFIX = "Scann>"
# Of RunOptions: runs the graph in the calling thread. A handover to a pool doubles the latency of
# a small request, and concurrent requests have a thread each already.
_CALLER_THREAD = -1


def _register_scann_ops() -> str:
    """Makes TensorFlow know ScaNN's ops; returns why it could not, or ''."""
    try:
        scann_ops()
    except (ImportError, tf.errors.NotFoundError) as error:
        return f"scann cannot be imported: {error}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature, compiled.

    Attributes:
        input_names: sorted.
        input_dtypes: `DataType` of each input.
        feed_names: the graph's name of each input.
        defaults: values of the inputs that a request may leave out.
        output_names: sorted.
        output_dtypes: `DataType` of each output.
        run: takes an array for each input, in order, and returns one for each output, in order;
            strings as object arrays of bytes. Safe to call from several threads. It raises what an
            op raised, a `tf.errors.OpError`.
    """

    input_names: tuple[str, ...]
    input_dtypes: tuple[int, ...]
    feed_names: tuple[str, ...]
    defaults: Mapping[str, np.ndarray]
    output_names: tuple[str, ...]
    output_dtypes: tuple[int, ...]
    run: Callable[..., list[np.ndarray]]

    def answer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `run` returns of inputs, both by name; inputs that it does not take are left out."""
        outputs = self.run(*(inputs[name] for name in self.input_names))
        return dict(zip(self.output_names, outputs, strict=True))


class SavedModel:
    """A loaded version directory."""

    def __init__(self, directory: Path, *, intra_op_threads: int = 0) -> None:
        """Loads and compiles every signature whose inputs and outputs are all plain tensors.

        Args:
            directory: of the version.
            intra_op_threads: that one operation may use; 0: all cores. One is best for many small
                requests, whose operations take less time than to hand a part of them to another
                thread. The first session of a process decides for all.

        Raises:
            LoadError: the directory is no complete SavedModel for serving, or has an op that
                this process lacks.
        """
        scann_problem = _register_scann_ops()
        graph = tf.Graph()
        self._session: Any = tf.compat.v1.Session(
            graph=graph,
            config=config_pb2.ConfigProto(intra_op_parallelism_threads=intra_op_threads),
        )
        try:
            with graph.as_default():
                meta_graph = loader_impl.SavedModelLoader(str(directory)).load(
                    self._session, [tf.saved_model.SERVING]
                )
            self.signature_defs: Mapping[str, Any] = dict(meta_graph.signature_def)
            self.signatures: dict[str, Signature] = {
                name: self._compile(definition)
                for name, definition in self.signature_defs.items()
                if _is_servable(definition)
            }
        except tf.errors.OpError as error:
            self.close()
            hint = scann_problem if _SCANN_OP_PREFIX in error.message else ""
            raise LoadError(error.error_code, " ".join([error.message, hint]).strip()) from error
        except Exception:
            self.close()
            raise
        logging.info("loaded %s: signatures %s", directory, sorted(self.signatures))

    def _compile(self, definition: Any) -> Signature:
        inputs = sorted(definition.inputs.items())
        outputs = sorted(definition.outputs.items())
        # The same tensor may answer under two names, and the runtime fetches it only once.
        fetches = list(dict.fromkeys(info.name for _, info in outputs))
        positions = [fetches.index(info.name) for _, info in outputs]
        options = config_pb2.CallableOptions(feed=[info.name for _, info in inputs], fetch=fetches)
        options.run_options.inter_op_thread_pool = _CALLER_THREAD
        # `Session.run` and the public `make_callable` look up and check every feed again at each
        # call, which takes three times as long as the call itself.
        fetch = self._session._make_callable_from_options(options)

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            try:
                values = fetch(*arrays)
            except UnicodeDecodeError as error:
                raise _quoting(error.object) from None
            return [values[position] for position in positions]

        return Signature(
            input_names=tuple(name for name, _ in inputs),
            input_dtypes=tuple(info.dtype for _, info in inputs),
            feed_names=tuple(info.name for _, info in inputs),
            defaults={name: decode_tensor(value) for name, value in definition.defaults.items()},
            output_names=tuple(name for name, _ in outputs),
            output_dtypes=tuple(info.dtype for _, info in outputs),
            run=run,
        )

    def close(self) -> None:
        """Frees variables, tables and graph; the object answers no more."""
        self._session.close()
        self._session = None
        self.signatures = {}
        gc.collect()  # A tf.Graph holds cycles, and with them the C++ graph and its constants.


def _quoting(message: bytes) -> tf.errors.OpError:
    """The error of an op whose message quotes bytes of the request that are not UTF-8.

    TensorFlow cannot make a Python error of such a message, and its code is lost with it. Only a
    complaint about the request quotes the request.
    """
    told = message.decode(errors="backslashreplace")
    return tf.errors.InvalidArgumentError(None, None, told)


def _is_servable(definition: Any) -> bool:
    """Whether TensorProtos can carry all inputs and outputs; an initialiser has none to return."""
    infos = [*definition.inputs.values(), *definition.outputs.values()]
    return bool(definition.outputs) and all(
        info.WhichOneof("encoding") == "name" and info.dtype in SERVABLE_DTYPES for info in infos
    )
