"""What training wrote for TensorBoard, read back."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.util import event_pb2

Curve = list[tuple[int, float]]


def read_curves(logs: Path) -> Mapping[str, Curve]:
    """The scalars of a run's event files, by tag, in the order of steps.

    A resumed run has a file for each start; where two hold the same step the newer counts. What a
    killed run left unfinished at the end of a file is passed over.

    Args:
        logs: directory of the event files; there may be none.
    """
    found: dict[str, dict[int, float]] = {}
    # Names begin with the second that the file was opened.
    for path in sorted(logs.glob("events.out.tfevents.*")):
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = event_pb2.Event.FromString(record)
                for value in event.summary.value:
                    if value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                        number = float(tf.make_ndarray(value.tensor))
                        found.setdefault(value.tag, {})[event.step] = number
        except tf.errors.DataLossError:
            continue
    return {tag: sorted(by_step.items()) for tag, by_step in sorted(found.items())}
