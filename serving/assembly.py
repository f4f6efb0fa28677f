"""The exported graphs of one trained run: the same towers and items behind one index or another."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from configs.schema import Config
from preprocessing.columns import SECONDS_PER_DAY, UNKNOWN_ITEM
from serving.exported import ExportedModel
from serving.index import Searcher
from serving.item_store import ItemStore, ItemTable, open_items
from serving.signatures import FINGERPRINTS
from trainer.dataset import Dataset, load_interactions
from trainer.model import TwoTower

FloatArray = npt.NDArray[np.float32]


class Assembly:
    """Towers, items and their popularity, to which an index is added."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        model: TwoTower,
        items: FloatArray,
        *,
        removed: Collection[str],
    ) -> None:
        """Takes a restored run, the vectors of its catalog from item 1 on, and ids to keep out."""
        self._model, self._config = model, config.export
        table = ItemTable(
            video_id=dataset.catalog.video_id[1:],
            popularity=recent_positives(dataset, config.export.popularity_days)[1:],
            removed=removed,
        )
        self._store = ItemStore(table, items, num_popular=2 * config.export.k)
        self._looked_up = open_items(model)
        self._fingerprints = {name: getattr(dataset.manifest, name) for name in FINGERPRINTS}

    def with_index(self, searcher: Searcher) -> ExportedModel:
        """The graph that finds the items by this searcher of their vectors."""
        return ExportedModel(
            self._model,
            searcher,
            self._store,
            looked_up=self._looked_up,
            fingerprints=self._fingerprints,
            config=self._config,
        )


def recent_positives(dataset: Dataset, days: int) -> npt.NDArray[np.int64]:
    """Positives of each item in the log's last `days`, 0 for all: int64 [items + 1]."""
    positives = load_interactions(dataset, ["train", "validation", "test"])
    recent = positives.time >= positives.end_time - days * SECONDS_PER_DAY
    item = positives.item[recent] if days else positives.item
    counts = np.bincount(item, minlength=dataset.catalog.size).astype(np.int64)
    counts[UNKNOWN_ITEM] = 0
    return counts
