"""Requests of made-up users, and what a version answered them when it was built."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from preprocessing.columns import TIMESTAMP, USER_ID, Column, DType
from preprocessing.features import FeatureSpec
from serving.requests import Request, empty_request
from serving.signatures import DATASET, EXCLUDE_ITEM_ID, FINGERPRINTS, ITEM_ID
from serving.warmup import WARMUP_FILE

GOLDEN_FILE = Path("assets.extra", "golden_responses")
"""A TFRecord of `PredictionLog`, each with request and response."""

_WARMUP_BATCHES = (1, 32)
_GOLDEN_BATCH = 16
_MAX_LIST = 12  # of made-up histories, counts and exclusions

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeUp:
    """What made-up requests are drawn from.

    Attributes:
        spec: of the features.
        video_id: ids of the catalog.
        values: some values that string columns may take, by column.
        now: UTC seconds.
    """

    spec: FeatureSpec
    video_id: np.ndarray
    values: Mapping[str, list[str]]
    now: int

    def requests(self, count: int, *, seed: int) -> Request:
        """Requests of `count` users that do not exist; of the first nothing is known."""
        rng = np.random.default_rng(seed)
        request = empty_request(self.spec, count)
        name, feature = self.spec.sequence
        lengths = rng.integers(0, min(feature.max_length, _MAX_LIST) + 1, count)
        lengths[:1] = 0
        for column in self.spec.request_columns:
            if column.is_ragged:
                request[column.name] = self._lists(column, lengths, rng)
            elif count > 1:
                request[column.name][1:] = self._values(column, count - 1, rng)
        request[f"{name}_item_id"] = self._padded(self._some_items(lengths.sum(), rng), lengths)
        ages = np.sort(rng.integers(60, 30 * 86_400, lengths.sum()))[::-1]
        request[f"{name}_timestamp"] = self._padded(self.now - ages, lengths)
        request[TIMESTAMP] = np.full(count, self.now, np.int64)
        if USER_ID in request:
            made_up = [f"made-up-{seed}-{i}".encode() for i in range(count)]
            request[USER_ID] = np.array(made_up, object)
        return request

    def excluding(self, count: int, *, seed: int) -> Request:
        """The same with some items to leave out, some of them twice, some unknown."""
        rng = np.random.default_rng(seed)
        lengths = rng.integers(0, _MAX_LIST + 1, count)
        excluded = self._padded(self._some_items(lengths.sum(), rng), lengths)
        twice = np.concatenate([excluded, excluded[:, :3]], 1)
        return self.requests(count, seed=seed) | {EXCLUDE_ITEM_ID: twice}

    def items(self, count: int, *, seed: int) -> Request:
        """Items of the catalog."""
        rng = np.random.default_rng(seed)
        ids = self.video_id[rng.integers(0, len(self.video_id), count)]
        return {ITEM_ID: np.array([_bytes(v) for v in ids], object)}

    def raw_items(self, count: int, *, seed: int) -> Request:
        """Items as `embed_item` takes them, known ids with made-up columns."""
        rng = np.random.default_rng(seed)
        raw: Request = {}
        lengths = rng.integers(0, _MAX_LIST + 1, count)
        for column in self.spec.item_request_columns:
            if column.is_ragged:
                raw[column.name] = self._lists(column, lengths, rng)
            else:
                raw[column.name] = self._values(column, count, rng)
        raw[self.spec.features[ITEM_ID].column] = self.items(count, seed=seed)[ITEM_ID]
        raw[TIMESTAMP] = np.full(count, self.now, np.int64)
        return raw

    def of_signature(self, signature: str, count: int, *, seed: int) -> Request:
        """Made-up inputs of a signature."""
        makers: dict[str, Callable[..., Request]] = {
            "serving_default": self.requests,
            "embed_user": self.requests,
            "recommend_excluding": self.excluding,
            "recommend_examples": self._examples,
            "embed_item": self.raw_items,
            "similar_items": self.items,
            DATASET: self._names_of_fingerprints,
        }
        return makers[signature](count, seed=seed)

    def _names_of_fingerprints(self, count: int, *, seed: int) -> Request:
        some = ("no fingerprint", *FINGERPRINTS)
        return {"name": np.array([some[(seed + i) % 3].encode() for i in range(count)], object)}

    def _examples(self, count: int, *, seed: int) -> Request:
        request = self.requests(count, seed=seed)
        return {"examples": np.array([_example(request, i) for i in range(count)], object)}

    def _values(self, column: Column, count: int, rng: np.random.Generator) -> np.ndarray:
        if column.length is not None:
            return rng.normal(size=(count, column.length)).astype(np.float32)
        if column.dtype is DType.BYTES:
            some = ["", "a value that no log holds", *self.values.get(column.name, ())]
            return np.array([some[i].encode() for i in rng.integers(0, len(some), count)], object)
        if column.dtype is DType.FLOAT:
            return rng.uniform(0, 100, count).astype(np.float32)
        return rng.integers(0, 100, count)

    def _lists(self, column: Column, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flat = Column(name=column.name, dtype=column.dtype)
        return self._padded(self._values(flat, lengths.sum(), rng), lengths)

    def _some_items(self, count: int, rng: np.random.Generator) -> np.ndarray:
        known = self.video_id[rng.integers(0, len(self.video_id), count)]
        strange = rng.random(count) < 0.1
        return np.array(
            [b"an unknown video" if s else _bytes(v) for v, s in zip(known, strange, strict=True)],
            object,
        )

    @staticmethod
    def _padded(flat: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        width = max(1, int(lengths.max(initial=0)))
        padded = np.full((len(lengths), width), b"" if flat.dtype == object else 0, flat.dtype)
        padded[np.arange(width) < lengths[:, None]] = flat
        return padded


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _example(request: Request, row: int) -> bytes:
    example = tf.train.Example()
    for name, column in request.items():
        values = np.atleast_1d(column[row])
        feature = example.features.feature[name]
        if column.dtype == object:
            feature.bytes_list.value.extend(values)
        elif values.dtype == np.int64:
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString()


def write_warmup(version_dir: Path, make_up: MakeUp, signatures: Iterable[str]) -> None:
    """Writes one request for each signature and batch size, none of them of a real user."""
    path = version_dir / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in _WARMUP_BATCHES:
            for signature in signatures:
                inputs = make_up.of_signature(signature, size, seed=size)
                writer.write(_log(signature, inputs).SerializeToString())


def golden_requests(make_up: MakeUp, signatures: Iterable[str]) -> Iterator[tuple[str, Request]]:
    """Made-up requests to each signature: one alone, and a batch."""
    for signature in signatures:
        for size in (1, _GOLDEN_BATCH):
            yield signature, make_up.of_signature(signature, size, seed=100 + size)


def write_golden(
    version_dir: Path,
    asked: Iterable[tuple[str, Inputs]],
    answer: Callable[[str, Inputs], Inputs],
) -> None:
    """Writes requests with their answers.

    Args:
        version_dir: of the SavedModel.
        asked: signatures and inputs.
        answer: gives the outputs, by name, of a signature for inputs.
    """
    path = version_dir / GOLDEN_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in asked:
            log = _log(signature, inputs)
            for name, value in answer(signature, inputs).items():
                log.predict_log.response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def read_golden(version_dir: Path) -> Iterator[tuple[str, Inputs, Inputs]]:
    """Signature, inputs and outputs of each golden record."""
    for record in tf.data.TFRecordDataset(str(version_dir / GOLDEN_FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        yield (
            log.request.model_spec.signature_name,
            {name: tf.make_ndarray(value) for name, value in log.request.inputs.items()},
            {name: tf.make_ndarray(value) for name, value in log.response.outputs.items()},
        )


def _log(signature: str, inputs: Inputs) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log
