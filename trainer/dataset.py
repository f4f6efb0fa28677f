"""A dataset as the trainer reads it: manifest, spec, catalog and assets, checked once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import tensorflow as tf

from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.columns import ITEM, QUERY_COLUMNS, TIMESTAMP, USER_ID
from preprocessing.features import FeatureSpec, spec_of
from preprocessing.manifest import Manifest
from trainer.catalog import Assets, Catalog, load_assets, load_catalog
from trainer.queries import Int64Array, Interactions, Queries, Ragged
from trainer.records import Rows, parse_block, parse_packed, to_dense

_RECORDS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Everything of a dataset but its rows.

    Attributes:
        root: its directory.
        manifest: what it holds.
        spec: of its features.
        catalog: its items.
        assets: its vocabularies and statistics.
    """

    root: Path
    manifest: Manifest
    spec: FeatureSpec
    catalog: Catalog
    assets: Assets


def open_dataset(
    directory: str | Path, config: Config, *, where: str = manifests.DATASET
) -> Dataset:
    """Opens a dataset that was made for the features of a config.

    Args:
        directory: of the dataset.
        config: whose features it must be made for.
        where: what names the directory, for messages: a flag.

    Raises:
        UserError: it is no dataset, a file is missing, or it was made for other features.
    """
    root = Path(directory)
    manifest = manifests.read(root, where=where)
    spec = spec_of(config)
    manifests.require_spec(manifest, spec, where=f"{where}={root}")
    catalog = load_catalog(root, manifest, spec)
    return Dataset(
        root=root,
        manifest=manifest,
        spec=spec,
        catalog=catalog,
        assets=load_assets(root, manifest, daily=catalog.daily),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedQueries:
    """Queries with what the model must be told of each.

    Attributes:
        queries: what evaluation asks.
        features: raw row columns [Q, ...], as `TwoTower.look_up` takes them, and the history.
    """

    queries: Queries
    features: Rows

    def take(self, rows: Int64Array, queries: Queries) -> "AskedQueries":
        """The features of the given rows [n], with queries that stand for those rows."""
        features = {name: tf.gather(value, rows) for name, value in self.features.items()}
        return AskedQueries(queries=queries, features=features)


def load_queries(dataset: Dataset, part: str) -> AskedQueries:
    """Reads the queries of one part, such as `queries/test/window`; there may be none."""
    columns = dataset.spec.query_columns
    files = [str(dataset.root / f.name) for f in dataset.manifest.part(part)]
    blocks = (
        [parse_packed(record, columns) for record in tf.data.TFRecordDataset(files)]
        if files
        else [_no_rows(columns)]
    )
    rows = {c.name: tf.concat([block[c.name] for block in blocks], 0) for c in columns}
    lists = {c.name for c in QUERY_COLUMNS}
    return AskedQueries(
        queries=Queries(
            user_id=rows[USER_ID].numpy(),
            as_of=rows[TIMESTAMP].numpy(),
            history=_ragged(rows["positive_item"]),
            history_time=_ragged(rows["positive_timestamp"]),
            seen=_ragged(rows["seen_item"]),
            relevant=_ragged(rows["relevant_item"]),
        ),
        features=to_dense(
            {n: v for n, v in rows.items() if n not in lists}, columns[: -len(lists)]
        ),
    )


def _no_rows(columns: tuple[object, ...]) -> Rows:
    empty = tf.train.Example().SerializeToString()
    return parse_packed(tf.constant(empty), columns)  # type: ignore[arg-type]


def _ragged(tensor: tf.RaggedTensor) -> Ragged:
    return Ragged(values=tensor.flat_values.numpy(), offsets=tensor.row_splits.numpy())


def query_batches(
    asked: AskedQueries, spec: FeatureSpec, size: int
) -> Iterator[tuple[Rows, tf.Tensor]]:
    """Raw features and history ids, `size` queries at a time."""
    for start in range(0, len(asked.queries), size):
        rows = {name: value[start : start + size] for name, value in asked.features.items()}
        yield rows, rows[spec.history_item_column]


def load_interactions(dataset: Dataset, splits: Sequence[str]) -> Interactions:
    """The positives of some splits, in time order for each user: what baselines learn from.

    Args:
        dataset: that they are of.
        splits: `train`, `validation` or `test`.
    """
    files = [str(dataset.root / f.name) for f in dataset.manifest.part("positives")]
    table = pads.dataset(files).to_table(filter=pads.field("split").isin(list(splits)))
    table = table.sort_by([("user", "ascending"), ("order", "ascending")])
    user, time = table["user"].to_numpy(), table["timestamp"].to_numpy()
    return Interactions(
        user=user,
        item=table["item"].to_numpy(),
        time=time,
        num_users=int(user.max()) + 1 if len(user) else 0,
        num_items=dataset.catalog.size,
        end_time=int(time.max()) + 1 if len(time) else 0,
    )


def load_row_days(dataset: Dataset, labels: Interactions) -> Int64Array:
    """The day of the train row that each train label made, int64 [N], days since 1970.

    A label has the time of its positive event, its row that of the impression that it answers,
    which may be of a day before.

    Args:
        dataset: whose rows.
        labels: all of its train labels, of `load_interactions`.
    """
    wanted = (USER_ID, ITEM, "label_time", "day")
    columns = [c for c in dataset.spec.train_columns if c.name in wanted]
    files = [str(dataset.root / f.name) for f in dataset.manifest.part("train")]
    records = tf.data.TFRecordDataset(files).batch(_RECORDS_AT_ONCE)
    blocks = [
        (_hashed(rows[USER_ID]), *(rows[name].numpy() for name in wanted[1:]))
        for rows in (parse_block(block, columns) for block in records)
    ]
    row_user, row_item, row_time, row_day = (
        np.concatenate([np.zeros(0, np.int64), *each]) for each in zip(*blocks, strict=True)
    )
    user = _hashed(tf.constant(load_user_ids(dataset).to_pylist(), tf.string))[labels.user]
    of_labels = np.lexsort((labels.item, labels.time, user))
    of_rows = np.lexsort((row_item, row_time, row_user))
    assert np.array_equal(row_item[of_rows], labels.item[of_labels]), "a train row for each label"
    day = np.empty(len(user), np.int64)
    day[of_labels] = row_day[of_rows]
    return day


def _hashed(user_id: tf.Tensor) -> Int64Array:
    hashed: Int64Array = tf.strings.to_hash_bucket_fast(user_id, 1 << 62).numpy()
    return hashed


def load_user_ids(dataset: Dataset) -> pa.ChunkedArray:
    """Strings, in the order of `Interactions.user`."""
    files = [str(dataset.root / f.name) for f in dataset.manifest.part("users")]
    return pads.dataset(files).to_table(columns=[USER_ID])[USER_ID]


def load_user_counts(dataset: Dataset) -> dict[str, int]:
    """Train rows by user id, of users that have any."""
    counts = np.bincount(load_interactions(dataset, ["train"]).user)
    some = np.flatnonzero(counts)
    return dict(
        zip(load_user_ids(dataset).take(some).to_pylist(), counts[some].tolist(), strict=True)
    )
