"""The variables that hold a version's items, as values to which rows are added."""

import numpy as np

from serving.bundle import Bundle

_STORE = "store"


class ItemVariables:
    """Those of `serving.item_store.ItemStore` and `looked_up`.

    Attributes:
        ids: of all items, listed or not.
        looked_up: checkpoint keys of what histories know of each item, by name.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Takes the values that are there."""
        self._keys = {
            name: bundle.key(_STORE, name)
            for name in ("video_id", "listed", "log_popularity", "fresh_vectors")
        }
        self._keys["table-keys"] = bundle.key(_STORE, "table", attribute="-keys")
        self._keys["table-values"] = bundle.key(_STORE, "table", attribute="-values")
        self.looked_up = {n: bundle.key("looked_up", n) for n in bundle.children("looked_up")}
        self._keys |= {f"looked_up/{name}": key for name, key in self.looked_up.items()}
        self._values = {name: bundle.values[key] for name, key in self._keys.items()}
        self.ids = {v.decode() for v in self._values["video_id"][1:]}

    @property
    def num_items(self) -> int:
        """Listed or not."""
        return len(self._values["video_id"]) - 1

    @property
    def num_fresh(self) -> int:
        """Items that are not in the index."""
        return len(self._values["fresh_vectors"])

    @property
    def num_unlisted(self) -> int:
        """Items that no list may hold."""
        return int(np.count_nonzero(~self._values["listed"][1:]))

    def append(self, video_id: list[str], rows: dict[str, np.ndarray]) -> None:
        """Adds items that are not there yet.

        Args:
            video_id: n ids.
            rows: `embedding` float32 [n, dim], and the rows of each of `looked_up`, [n, ...].
        """
        count = len(video_id)
        ids = np.array([v.encode() for v in video_id], object)
        new = np.arange(self.num_items + 1, self.num_items + 1 + count)
        values = self._values
        values["video_id"] = np.concatenate([values["video_id"], ids])
        values["listed"] = np.concatenate([values["listed"], np.ones(count, bool)])
        # Row 0 holds the log popularity of an item without any events.
        floor = np.repeat(values["log_popularity"][:1], count)
        values["log_popularity"] = np.concatenate([values["log_popularity"], floor])
        values["fresh_vectors"] = np.concatenate([values["fresh_vectors"], rows["embedding"]])
        values["table-keys"] = np.concatenate([values["table-keys"], ids])
        values["table-values"] = np.concatenate([values["table-values"], new])
        for name in self.looked_up:
            key = f"looked_up/{name}"
            values[key] = np.concatenate(_of_equal_width(values[key], rows[name]))
        self.ids |= set(video_id)

    def unlist(self, leaving: set[str]) -> int:
        """Takes items out of every list; returns how many were in."""
        is_leaving = np.isin(self._values["video_id"], [v.encode() for v in leaving])
        listed = self._values["listed"]
        gone = is_leaving & listed
        self._values["listed"] = listed & ~gone
        return int(gone.sum())

    def changed(self) -> dict[str, np.ndarray]:
        """All values, by checkpoint key."""
        return {key: self._values[name] for name, key in self._keys.items()}


def _of_equal_width(one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Rows of lists, padded with -1 to the longer of both, as `BagEncoder` pads."""
    if one.ndim != 2 or one.shape[1] == other.shape[1]:
        return [one, other]
    width = max(one.shape[1], other.shape[1])
    return [
        np.pad(each, [(0, 0), (0, width - each.shape[1])], constant_values=-1)
        for each in (one, other)
    ]
