"""The inputs of the exported signatures: names, types and shapes, and requests as Examples."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from preprocessing.columns import Column, DType, default_of
from preprocessing.features import FeatureSpec

_TF_DTYPE = {DType.INT64: tf.int64, DType.FLOAT: tf.float32, DType.BYTES: tf.string}

EXCLUDE_ITEM_ID = "exclude_item_id"
ITEM_ID = "item_id"

DATASET = "dataset"
"""The signature that says which dataset the model was made of."""
FINGERPRINT = "fingerprint"
FINGERPRINTS = ("spec_fingerprint", "assets_fingerprint")
"""Of a dataset's manifest: what `DATASET` may be asked for."""

Request = Mapping[str, tf.Tensor]
Answer = dict[str, tf.Tensor]


def inputs_of(columns: Iterable[Column]) -> dict[str, tf.TensorSpec]:
    """Inputs by name: the batch dimension first, lists of any length."""
    return {
        c.name: tf.TensorSpec(
            [None, c.length] if c.length else [None, None] if c.is_ragged else [None],
            _TF_DTYPE[c.dtype],
            name=c.name,
        )
        for c in columns
    }


def named(function: Callable[[Request], Answer], inputs: Mapping[str, tf.TensorSpec]) -> Any:
    """A concrete function that takes each input by its own name."""

    @tf.function
    def by_name(**request: tf.Tensor) -> Answer:
        return function(request)

    return by_name.get_concrete_function(**inputs)


def fingerprints_of(values: Mapping[str, str]) -> Any:
    """A concrete function from names, string [B], to fingerprints of the dataset, string [B].

    It has an input, and answers row by row, because a server that batches refuses what has none.

    Args:
        values: by name, one of `FINGERPRINTS`; any other name is answered with ''.
    """

    def look_up(inputs: Request) -> Answer:
        found = tf.zeros_like(inputs["name"])
        for name, value in values.items():
            found = tf.where(inputs["name"] == name, value, found)
        return {FINGERPRINT: found}

    return named(look_up, {"name": tf.TensorSpec([None], tf.string, name="name")})


def parse_examples(examples: tf.Tensor, spec: FeatureSpec) -> dict[str, tf.Tensor]:
    """Requests as tf.train.Examples: string [B] to inputs by name; what is absent is missing."""
    features: dict[str, Any] = {}
    for column in spec.request_columns:
        dtype = _TF_DTYPE[column.dtype]
        if column.is_ragged:
            features[column.name] = tf.io.RaggedFeature(dtype)
        elif column.length:
            zeros = tf.zeros([column.length], dtype)
            features[column.name] = tf.io.FixedLenFeature([column.length], dtype, zeros)
        else:
            features[column.name] = tf.io.FixedLenFeature([], dtype, default_of(column))
    parsed = tf.io.parse_example(examples, features)
    return {
        c.name: parsed[c.name].to_tensor() if c.is_ragged else parsed[c.name]
        for c in spec.request_columns
    }
