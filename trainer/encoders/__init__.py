"""One encoder for each kind of feature: from raw columns to numbers, from numbers to vectors.

`look_up` takes raw columns (strings, times, counts) and gives integers and floats; it runs in
tf.data when training and inside the exported model when serving, so the two cannot differ. `call`
embeds what `look_up` gave; it is numeric only.

`categorical`, `numerical`, `text` and `distributions` hold the kinds, by what their values are, as
`configs.kinds` does; `factory` picks a feature's.
"""

from trainer.encoders.base import Encoder, LookedUp, Raw
from trainer.encoders.factory import make_encoder
from trainer.encoders.tables import EmbeddingTable

__all__ = ["EmbeddingTable", "Encoder", "LookedUp", "Raw", "make_encoder"]
