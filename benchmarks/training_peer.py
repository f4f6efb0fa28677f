"""The peer: the same towers as TFRS' tutorials train them.

One `tf.train.Example` a row with the item's own features in it, parsed in batches and cached, as in
https://www.tensorflow.org/recommenders/examples/basic_retrieval and `efficient_serving`; look-ups
inside the model; `tfrs.tasks.Retrieval` without metrics, which are slow; Adagrad; `fit`. The item
tower runs on every row. A history is the same means, over a plain embedding of item ids that is as
wide as our item vectors: computed from every feature of fifty items it would be many times slower.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from configs.schema import Config
from trainer.dataset import Dataset
from trainer.model import TwoTower
from trainer.records import PAD_ITEM, parse_block

_LEARNING_RATE = 0.1  # the tutorials'


def write_examples(dataset: Dataset, path: Path, *, rows: int) -> dict[str, Any]:
    """Writes the first train rows as one Example each; returns what `parse_example` takes."""
    files = [str(dataset.root / f.name) for f in dataset.manifest.part("train")]
    columns = dataset.spec.train_columns
    blocks: list[Mapping[str, tf.Tensor]] = []
    found = 0
    for record in tf.data.TFRecordDataset(files).batch(1):
        blocks.append(parse_block(record, columns))
        found += int(tf.shape(blocks[-1]["item"])[0])
        if found >= rows:
            break
    user = {c.name for c in dataset.spec.request_columns}
    history = dataset.spec.history_item_column
    table = {
        name: tf.concat([block[name] for block in blocks], 0).numpy()[:rows]
        for name in blocks[0]
        if name in user or name in (history, "item", "day")
    }
    item, day = table.pop("item"), table["day"]
    catalog = dataset.catalog
    table["embedding_row"] = np.where(item <= catalog.vocabulary_size, item, 0)
    counts = catalog.daily.at(item, day)
    for column in dataset.spec.item_request_columns:
        if column.name in catalog.columns:
            table[f"item/{column.name}"] = catalog.columns[column.name][item]
    for index, column in enumerate(dataset.spec.statistic_columns):
        table[f"item/{column.name}"] = counts[:, index]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(rows):
            feature = {name: _feature(values[row]) for name, values in table.items()}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return {
        name: tf.io.FixedLenFeature(
            values.shape[1:], tf.string if values.dtype == object else tf.as_dtype(values.dtype)
        )
        for name, values in table.items()
    }


def _feature(value: Any) -> tf.train.Feature:
    flat = np.asarray(value).reshape(-1)
    if flat.dtype.kind in "OSU":
        texts = [v if isinstance(v, bytes) else str(v).encode() for v in flat.tolist()]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    if flat.dtype.kind == "i":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.tolist()))
    return tf.train.Feature(float_list=tf.train.FloatList(value=flat.tolist()))


class TutorialModel(tfrs.Model):
    """Two towers and a retrieval task."""

    def __init__(self, towers: TwoTower, *, num_items: int, temperature: float) -> None:
        """Takes another model's encoders and towers, for itself alone."""
        super().__init__()
        self._towers = towers
        width = towers.items(tf.zeros([1], tf.int64)).shape[-1]
        self._history = tf.keras.layers.Embedding(num_items, width)
        self._task = tfrs.tasks.Retrieval(temperature=temperature)

    def compute_loss(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """As the tutorials: query and candidate embeddings into the task."""
        towers = self._towers
        spec = towers.spec
        ids = features[spec.history_item_column]
        users = towers._user_vectors(
            towers.look_up(features), self._history(tf.maximum(ids, 0)), ids != PAD_ITEM, training
        )
        raw = {name[5:]: value for name, value in features.items() if name.startswith("item/")}
        items, day = towers.items, features["day"]
        static = items.embed(features["embedding_row"], items.look_up(raw), training=training)
        daily = items.daily_of(raw, day, training=training)
        candidates = towers.item_tower(tf.concat([static, daily], -1), training=training)
        return self._task(users, candidates, compute_metrics=False)


def tutorial(
    config: Config, dataset: Dataset, folder: Path, *, steps: int
) -> tuple[tf.keras.Model, tf.data.Dataset]:
    """A compiled model and its cached batches: what `fit` takes."""
    rows = config.train.batch_size * steps
    spec = write_examples(dataset, folder / "rows.tfrecord", rows=rows)
    batches = (
        tf.data.TFRecordDataset(str(folder / "rows.tfrecord"))
        .shuffle(rows)
        .batch(config.train.batch_size)
        .map(lambda each: tf.io.parse_example(each, spec), num_parallel_calls=tf.data.AUTOTUNE)
        .cache()
        .prefetch(tf.data.AUTOTUNE)
    )
    towers = TwoTower(config, dataset.spec, dataset.catalog, dataset.assets)
    model = TutorialModel(
        towers, num_items=dataset.catalog.size, temperature=config.model.temperature
    )
    model.compile(optimizer=tf.keras.optimizers.Adagrad(_LEARNING_RATE))
    return model, batches
