"""A model that begins as an earlier run's, grown to the vocabularies of a dataset made after it.

`preprocessing.run --previous` keeps the ids of the earlier dataset and puts new ones after. A value
that is new was out of vocabulary until now, and begins as just that: its embedding row, or its
place among a tower's inputs, is a copy of the one for all other values. So the grown model gives
what the earlier one gave, for every request and item, until the first step.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.errors import UserError
from configs.schema import Config
from trainer.catalog import Catalog
from trainer.dataset import Dataset
from trainer.encoders import Encoder
from trainer.model import TwoTower
from trainer.restore import restore_run
from trainer.towers import Tower
from trainer.workdir import model_differences

Int64s = npt.NDArray[np.int64]


def init_from(run: Path, config: Config, dataset: Dataset, model: TwoTower) -> int:
    """Gives a new model the weights of an earlier run.

    Args:
        run: workdir of the earlier run; its dataset must still be there.
        config: of the new model.
        dataset: of the new model, made with `--previous` of the earlier run's.
        model: whose weights are set.

    Returns:
        The earlier run's step.

    Raises:
        UserError: there is no such run, or its model, features, ids or scales are not continued.
    """
    where = f"--init_from={run}"
    earlier_config, earlier, source, step = restore_run(run, flag="--init_from")
    if found := model_differences(earlier_config, config, ("features", "model")):
        raise UserError(f"{where}: the run has another model: {found[0]}")
    _require_continued(where, earlier, dataset)

    for old_table, new_table in zip(source.embedding_tables, model.embedding_tables, strict=True):
        new_table.assign(tf.gather(old_table, _grown(old_table.shape[0], new_table.shape[0])))
    for name in ("user_tower", "item_tower"):
        towers = getattr(source, name), getattr(model, name)
        widths = [
            _input_widths(each, data.catalog, name)
            for each, data in ((source, earlier), (model, dataset))
        ]
        _copy_tower(*towers, inputs=_grown_parts(*widths))
    done = {w.ref() for w in (*model.user_tower.weights, *model.item_tower.weights)}
    causal = source.history.causal, model.history.causal
    if causal[0] is not None and causal[1] is not None:
        old_kernel, new_kernel = causal[0].project.kernel, causal[1].project.kernel
        static = (
            _item_widths(each, data.catalog)[0]
            for each, data in ((source, earlier), (model, dataset))
        )
        new_kernel.assign(np.take(old_kernel.numpy(), _grown_parts(*static), 0))
        done.add(new_kernel.ref())
    for old_weight, new_weight in zip(source.dense_weights, model.dense_weights, strict=True):
        if new_weight.ref() not in done:
            new_weight.assign(old_weight)
    return step


def _require_continued(where: str, earlier: Dataset, dataset: Dataset) -> None:
    """Refuses a dataset whose ids do not mean what they meant to the earlier run."""
    expected = f"expected a dataset made with --previous={earlier.root}"
    old, new = earlier.catalog, dataset.catalog
    kept = slice(1, old.vocabulary_size + 1)
    if not np.array_equal(old.video_id[kept], new.video_id[kept]):
        raise UserError(f"{where}: found other item ids in {dataset.root}, {expected}")
    for name, values in earlier.assets.vocabularies.items():
        if dataset.assets.vocabularies.get(name, [])[: len(values)] != values:
            raise UserError(f"{where}: found other ids of {name!r} in {dataset.root}, {expected}")
    if earlier.assets.statistics != dataset.assets.statistics:
        raise UserError(f"{where}: found other scales in {dataset.root}, {expected}")


def _grown(old: int, new: int) -> Int64s:
    """For each of `new` places the old one that it copies: itself, or 0, that of all others."""
    assert new >= old, (old, new)
    return np.concatenate([np.arange(old), np.zeros(new - old, np.int64)])


def _grown_parts(old: Sequence[int], new: Sequence[int]) -> Int64s:
    """The same for parts side by side, each grown by itself."""
    offsets = np.cumsum([0, *old[:-1]])
    parts = zip(offsets, old, new, strict=True)
    return np.concatenate([offset + _grown(before, after) for offset, before, after in parts])


def _copy_tower(source: Tower, target: Tower, *, inputs: Int64s) -> None:
    """Copies a tower's weights; `inputs` says which old input each new one is a copy of.

    In a cross layer both sides of the matrix are inputs. Inputs that are copies add up to what one
    was, layer after layer, so that rows and columns are copied alike.
    """
    for old, new in zip(source.weights, target.weights, strict=True):
        value = old.numpy()
        for axis, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):
            if before != after:
                # The output projection sees the residual branch's units before the inputs.
                beside = after - len(inputs)
                assert beside >= 0, (old.name, old.shape, new.shape, len(inputs))
                place = np.concatenate([np.arange(beside), beside + inputs])
                value = np.take(value, place, axis)
        new.assign(value)


def _item_widths(model: TwoTower, catalog: Catalog) -> tuple[list[int], list[int]]:
    """Widths of what an item's vector is put together from, in order: static and daily."""
    row = {name: tf.constant(column[:1].tolist()) for name, column in catalog.columns.items()}
    row = {n: tf.cast(v, tf.int64) if v.dtype == tf.int32 else v for n, v in row.items()}
    row |= {c.name: tf.zeros([1], tf.int64) for c in model.spec.statistic_columns}
    row["day"] = tf.zeros([1], tf.int64)
    static = [model.items.item_id.table.shape[1], *_widths(model.items.static_encoders, row)]
    return static, _widths(model.items.daily_encoders, row)


def _input_widths(model: TwoTower, catalog: Catalog, tower: str) -> list[int]:
    """Widths of what a tower's input is put together from, in order."""
    static, daily = _item_widths(model, catalog)
    if tower == "item_tower":
        return static + daily
    raw = {}
    for column in model.spec.request_columns:
        width = column.length or column.max_length
        raw[column.name] = tf.zeros([1, width] if width else [1], column.dtype.value)
    return _widths(model.user_encoders, raw) + model.history.widths(static)


def _widths(encoders: Iterable[Encoder], raw: Mapping[str, tf.Tensor]) -> list[int]:
    return [int(encoder(encoder.look_up(raw)).shape[-1]) for encoder in encoders]
