"""What an evaluation can ask: trained towers, or an export through its own signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.errors import UserError
from preprocessing.columns import SECONDS_PER_DAY
from trainer.dataset import AskedQueries, Dataset, query_batches
from trainer.lists import RankedLists
from trainer.model import TwoTower
from trainer.queries import Int64Array
from trainer.records import PAD_ITEM, Rows
from trainer.retrieval import PADDING, DotProductScorer, Float32Array, Scorer

_QUERIES_AT_ONCE = 1_024
_REQUESTS_AT_ONCE = 128
_REPORT = "assets.extra/export.json"


class Recommender(Protocol):
    """A model that can be asked the queries of a dataset.

    Attributes:
        item_vectors: float32 [num_items, dim], or None where they are not known.
        list_width: how long its lists are, or None where it ranks the whole catalog.
    """

    item_vectors: Float32Array | None
    list_width: int | None

    def scorer(self, asked: AskedQueries) -> Scorer:
        """What ranks the catalog for these queries."""
        ...


class Towers:
    """A trained model; item vectors are those of a split's first day."""

    item_vectors: Float32Array | None
    list_width: int | None = None

    def __init__(self, model: TwoTower, dataset: Dataset, *, split: str) -> None:
        """Embeds the catalog.

        Args:
            model: trained.
            dataset: whose catalog.
            split: `validation` or `test`.
        """
        splits = dataset.manifest.splits
        start = splits.test_time if split == "test" else splits.validation_time
        self._spec, self._model = dataset.spec, model
        self.item_vectors = model.embed_catalog(dataset.catalog.size, day=start // SECONDS_PER_DAY)

    def scorer(self, asked: AskedQueries) -> Scorer:
        """See `Recommender`."""
        assert self.item_vectors is not None
        vectors = [
            self._model.embed_raw_users(rows, history).numpy()
            for rows, history in query_batches(asked, self._spec, _QUERIES_AT_ONCE)
        ]
        return DotProductScorer(
            query_embedding=np.concatenate(vectors), item_embedding=self.item_vectors
        )


class Export:
    """An exported version, asked through its own signatures: index, exclusions and all.

    Its item vectors are those of the dataset's last day, as they are when it serves. What the user
    has seen is excluded by `recommend_excluding`; without that signature `serving_default` answers,
    and seen items leave gaps in its lists.
    """

    item_vectors: Float32Array | None = None
    list_width: int | None

    def __init__(self, directory: Path, dataset: Dataset, *, exclude_seen: bool) -> None:
        """Loads a version.

        Args:
            directory: of the version, such as `models/retrieval/1`.
            dataset: whose queries it will be asked; of the features and assets of its own.
            exclude_seen: whether what the user has seen is no candidate.

        Raises:
            UserError: it is no export, cannot be loaded, or was made for another dataset.
        """
        _require_same_dataset(directory, dataset)
        try:
            # Registers the operations of an approximate index; an exact one needs none.
            from scann.scann_ops.py import scann_ops  # noqa: F401
        except ImportError:
            scann = "; scann cannot be imported here"
        else:
            scann = ""
        try:
            self._loaded = tf.saved_model.load(str(directory))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"--model={directory}: cannot be loaded{scann}: {error}") from None
        signatures = self._loaded.signatures
        self._excluding = exclude_seen and "recommend_excluding" in signatures
        name = "recommend_excluding" if self._excluding else "serving_default"
        self._recommend = signatures[name]
        self._dataset = dataset
        # Bytes, as the model answers them; the last stands for padding.
        ids = [str(video_id).encode() for video_id in dataset.catalog.video_id]
        self._video_id = np.array([*ids, b""], dtype=object)
        self._catalog_id = {video_id: i for i, video_id in enumerate(ids) if i}
        self.list_width = _width(self._recommend)

    def scorer(self, asked: AskedQueries) -> Scorer:
        """See `Recommender`."""
        return RankedLists(lists=np.concatenate(list(self._answers(asked))))

    def _answers(self, asked: AskedQueries) -> Iterator[Int64Array]:
        """Lists of catalog ids, int64 [n, width], batch by batch; `PADDING` where they end."""
        start = 0
        for rows, history in query_batches(asked, self._dataset.spec, _REQUESTS_AT_ONCE):
            stop = start + len(history)
            request = self._request(rows, history.numpy())
            if self._excluding:
                seen = asked.queries.seen.slice(start, stop)
                width = max(1, int(seen.lengths.max(initial=0)))
                padded = np.full((len(seen), width), PAD_ITEM, dtype=np.int64)
                place = np.arange(len(seen.values)) - np.repeat(seen.offsets[:-1], seen.lengths)
                padded[seen.row_of_value, place] = seen.values
                request["exclude_item_id"] = self._strings(padded)
            answer = self._recommend(**request)["item_id"].numpy()
            ids = [self._catalog_id.get(video_id, PADDING) for video_id in answer.ravel()]
            yield np.array(ids, dtype=np.int64).reshape(answer.shape)
            start = stop

    def _request(self, rows: Rows, history: Int64Array) -> dict[str, tf.Tensor]:
        """The inputs of the signature: rows hold all of them but the history's video ids."""
        spec = self._dataset.spec
        item_id = f"{spec.sequence[0]}_item_id"
        request = {c.name: rows[c.name] for c in spec.request_columns if c.name != item_id}
        request[item_id] = self._strings(history)
        return request

    def _strings(self, ids: Int64Array) -> tf.Tensor:
        """Video ids of catalog ids: '' for padding and for strangers."""
        assert PAD_ITEM == -1
        strings: npt.NDArray[Any] = self._video_id[ids]
        return tf.constant(strings.tolist(), tf.string, shape=strings.shape)


def _width(recommend: Any) -> int:
    """How long a signature's lists are: what it answers one request that says nothing."""
    _, inputs = recommend.structured_input_signature
    blank = {
        name: tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
        for name, spec in inputs.items()
    }
    return int(recommend(**blank)["score"].shape[1])


def _require_same_dataset(directory: Path, dataset: Dataset) -> None:
    path = directory / _REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--model={directory}: cannot read {_REPORT}: {error}; expected a version that "
            "`python -m serving.export` published"
        ) from None
    manifest = dataset.manifest
    for name in ("spec_fingerprint", "assets_fingerprint"):
        expected = getattr(manifest, name)
        if report.get(name) != expected:
            raise UserError(
                f"--model={directory}: found {name} {str(report.get(name))[:12]}, expected "
                f"{expected[:12]}, that of --dataset={dataset.root}"
            )
