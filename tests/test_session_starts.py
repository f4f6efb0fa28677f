import numpy as np
import pytest
import tensorflow as tf

from configs.kinds import Entity, Sequence, Vocabulary
from configs.schema import Data
from preprocessing.features import FeatureSpec
from trainer.session_starts import with_session_starts

SPEC = FeatureSpec(
    features={
        "history": Sequence(max_length=3, windows=(3,), session_gap_sec=100),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM),
    },
    data=Data(),
)
NOW = 1_000_000
WEIGHT = [1.0, 2.0, 1.0, 4.0]


def int64(values: object) -> tf.Tensor:
    return tf.constant(values, tf.int64)


ROWS = {  # nothing yet, of this session, just of it, long ago
    "timestamp": int64([NOW] * 4),
    "history_timestamp": int64(
        [[0, 0, 0], [NOW - 900, NOW - 9, 0], [NOW - 100, 0, 0], [0, NOW - 900, NOW - 101]]
    ),
    "weight": tf.constant(WEIGHT),
}
SEQUENCES = {  # the same four, of two users
    "timestamp": int64([NOW - 990, NOW, NOW, NOW]),
    "history_timestamp": int64([[NOW - 900, NOW - 9, 0], [NOW - 900, NOW - 101, NOW - 100]]),
    "history_item#end": int64([0, 2, 3, 2]),
    "sequence_rows": int64([2, 2]),
    "weight": tf.constant(WEIGHT),
}


@pytest.mark.parametrize("batch", [ROWS, SEQUENCES], ids=["rows", "sequences"])
def test_session_starts_make_up_their_share(batch: dict[str, tf.Tensor]) -> None:
    found = with_session_starts(batch, SPEC, 0.25).numpy()
    np.testing.assert_allclose(found, [1.5, 3.0, 1.5, 2.0], rtol=1e-6)


@pytest.mark.parametrize("row", [0, 3])
def test_rows_of_one_sort_keep_their_weights(row: int) -> None:
    batch = {name: values[row : row + 1] for name, values in ROWS.items()}
    np.testing.assert_array_equal(with_session_starts(batch, SPEC, 0.25), WEIGHT[row : row + 1])
