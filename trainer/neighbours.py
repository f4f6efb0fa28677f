"""What a model takes for alike: the nearest items of the most popular ones."""

from typing import Any

import numpy as np

from preprocessing.columns import UNKNOWN_ITEM
from trainer.catalog import Catalog
from trainer.retrieval import Float32Array, select_top_k

_ITEMS = 10
_NEIGHBOURS = 5


def nearest_neighbours(item_vectors: Float32Array, catalog: Catalog) -> list[dict[str, Any]]:
    """The most popular items of train, each with the items whose vectors are nearest.

    Args:
        item_vectors: float32 [num_items, dim], of unit length.
        catalog: that they are of.

    Returns:
        JSON: `video_id`, `title` and `neighbours`, each with `video_id`, `title` and `cosine`.
    """
    popular = np.argsort(-catalog.train_count, kind="stable")
    popular = popular[popular != UNKNOWN_ITEM][:_ITEMS]
    cosine = item_vectors[popular] @ item_vectors.T
    cosine[:, UNKNOWN_ITEM] = -np.inf
    cosine[np.arange(len(popular)), popular] = -np.inf
    nearest, value = select_top_k(cosine, _NEIGHBOURS)
    return [
        _named(catalog, item)
        | {
            "neighbours": [
                _named(catalog, near) | {"cosine": float(cosine)}
                for near, cosine in zip(nearest[row], value[row], strict=True)
                if near >= 0
            ]
        }
        for row, item in enumerate(popular)
    ]


def _named(catalog: Catalog, item: int) -> dict[str, Any]:
    return {"video_id": str(catalog.video_id[item]), "title": str(catalog.title[item])}
