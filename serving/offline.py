"""Vectors and exact lists of stored users by the training code's own path, without a server."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.requests import Request
from trainer.catalog import Catalog
from trainer.dataset import Dataset
from trainer.model import TwoTower
from trainer.records import PAD_ITEM

FloatArray = npt.NDArray[np.float32]
_ROWS_AT_ONCE = 1_024


def tensors(request: Request) -> dict[str, tf.Tensor]:
    """A request's arrays as tensors; strings of any kind become bytes."""
    return {n: tf.constant(v.tolist() if v.dtype == object else v) for n, v in request.items()}


def catalog_ids(catalog: Catalog, video_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Catalog ids of padded lists [n, L]: 0 for strangers, `PAD_ITEM` for padding ('')."""
    index = {video_id: i for i, video_id in enumerate(catalog.video_id)}
    ids = [[index.get(v, 0) if v else PAD_ITEM for v in row] for row in video_ids]
    return np.array(ids, np.int64).reshape(video_ids.shape)


def embed_requests(model: TwoTower, dataset: Dataset, request: Request) -> FloatArray:
    """Unit vectors of the users of a request: float32 [n, dim]."""
    history = catalog_ids(dataset.catalog, request[f"{dataset.spec.sequence[0]}_item_id"])
    blocks = []
    for start in range(0, len(history), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        raw = tensors({name: value[start:stop] for name, value in request.items()})
        blocks.append(model.embed_users(model.look_up(raw), tf.constant(history[start:stop])))
    return np.concatenate(blocks)


def exact_lists(users: FloatArray, items: FloatArray, k: int) -> npt.NDArray[np.int64]:
    """Rows of the k items with the highest dot product, best first: int64 [n, min(k, items)]."""
    transposed = tf.constant(items)
    k = min(k, len(items))
    blocks = [
        tf.math.top_k(tf.matmul(users[i : i + _ROWS_AT_ONCE], transposed, transpose_b=True), k)[1]
        for i in range(0, len(users), _ROWS_AT_ONCE)
    ]
    return np.concatenate(blocks).astype(np.int64)
