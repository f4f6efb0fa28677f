"""The benchmark of training counts what it says, and its peer has the same towers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.flops import matmul_flops
from benchmarks.training import in_turn, over
from benchmarks.training_peer import tutorial
from configs.schema import Config
from trainer.dataset import open_dataset


def test_products_of_a_step_are_counted_forward_and_backward() -> None:
    weights = tf.Variable(tf.ones([3, 5]))
    batched = tf.ones([4, 2, 3])

    @tf.function
    def step(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.nn.relu(inputs @ weights) ** 2)
        return [*tape.gradient(loss, [inputs, weights]), batched @ inputs[tf.newaxis, :3]]

    graph = step.get_concrete_function(tf.TensorSpec([7, 3], tf.float32)).graph
    of_one = 2 * 7 * 3 * 5
    assert matmul_flops(graph) == 3 * of_one + 4 * 2 * 2 * 3 * 3


def test_ratios_are_of_rounds_and_the_first_is_not_counted() -> None:
    order: list[str] = []
    seconds = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3)
    assert order == ["a", "b"] * 4 and [len(each) for each in seconds.values()] == [3, 3]
    found = over({"a": [1.0, 2.0, 9.0], "b": [1.0, 1.0, 3.0]}, "a", "b", 10.0)
    assert found == {"median": 20.0, "least": 10.0, "most": 30.0}


def test_the_peers_rows_hold_what_our_catalog_does(
    config: Config, dataset_dir: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(dataset_dir, config)
    model, batches = tutorial(config, dataset, tmp_path, steps=1)
    (batch,) = batches
    towers = model._towers
    raw = {name[5:]: value for name, value in batch.items() if name.startswith("item/")}
    row, day = batch["embedding_row"], batch["day"]
    known = row.numpy() > 0
    assert known.sum() > config.train.batch_size // 2
    theirs = towers.embed_raw_items(row, raw, day).numpy()[known]
    ours = towers.embed_items(row, day).numpy()[known]  # by catalog id, which is the row
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    before = towers.item_tower.project_in.kernel.numpy()
    loss = model.fit(batches, epochs=1, verbose=0).history["loss"][0]
    assert loss == pytest.approx(loss) and loss > 0
    assert not np.array_equal(towers.item_tower.project_in.kernel, before)
