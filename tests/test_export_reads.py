"""A variable that an operation gathers from is copied whole at each later read, for good."""

from pathlib import Path

import numpy as np
import tensorflow as tf


def test_no_request_makes_later_ones_copy_the_catalogs_vectors(model_base_path: Path) -> None:
    model = tf.saved_model.load(str(model_base_path / "1"))
    item_id = model.store.video_id.numpy()[1:2]
    model.signatures["similar_items"](item_id=tf.constant(item_id))
    reads = [model.searcher.vectors.read_value() for _ in range(2)]
    first, second = (np.asarray(memoryview(each)) for each in reads)
    assert np.shares_memory(first, second)
