"""The catalog inside the model: items that stand for new ones while training."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from configs.schema import Config
from tests.fresh_model import new_model
from trainer.dataset import Dataset, open_dataset
from trainer.items import ItemEncoder


@pytest.fixture(scope="module")
def dataset(config: Config, dataset_dir) -> Dataset:
    return open_dataset(dataset_dir, config)


def encoder(config: Config, dataset: Dataset, *, id_dropout: float) -> ItemEncoder:
    return ItemEncoder(
        dataset.spec,
        dataset.catalog,
        dataset.assets,
        id_dropout=id_dropout,
        feature_dropout={},
        seed=config.train.seed,
    )


def test_id_dropout_gives_that_share_the_row_of_new_items(config: Config, dataset) -> None:
    items = encoder(config, dataset, id_dropout=0.3)
    ids = tf.range(1, dataset.catalog.vocabulary_size + 1, dtype=tf.int64)
    width = items.item_id.table.shape[1]
    new = items.item_id.table[0].numpy()

    trained = items(ids, training=True)[:, :width].numpy()
    served = items(ids)[:, :width].numpy()

    dropped = (trained == new).all(1)
    assert 0.2 < dropped.mean() < 0.4
    np.testing.assert_array_equal(trained[~dropped], served[~dropped])
    np.testing.assert_array_equal(served, items.item_id.table[1 : len(ids) + 1].numpy())


def test_the_row_of_new_items_learns_from_positives_only_with_dropout(
    config: Config, dataset
) -> None:
    """What new items share must be pulled towards users, not only pushed away as a negative."""

    def gradient_as_positive(id_dropout: float) -> float:
        items = encoder(config, dataset, id_dropout=id_dropout)
        ids = tf.range(1, dataset.catalog.vocabulary_size + 1, dtype=tf.int64)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(items(ids, training=True))
        gradient = tf.convert_to_tensor(tape.gradient(loss, items.item_id.table))
        return float(tf.norm(gradient[0]))

    assert gradient_as_positive(0.0) == 0
    assert gradient_as_positive(0.5) > 0


def test_the_model_drops_ids_in_training_alone(config: Config, dataset) -> None:
    dropping = dataclasses.replace(config, train=dataclasses.replace(config.train))
    dropping.train.item_id_dropout = 0.9
    model = new_model(dropping, dataset)
    one, day = tf.constant([1, 2, 3], tf.int64), tf.zeros([3], tf.int64)
    np.testing.assert_array_equal(model.embed_items(one, day), model.embed_items(one, day))
    assert model.items.id_dropout == 0.9
