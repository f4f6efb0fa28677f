"""Datasets that a test's job wrote, read back through TensorFlow and not by the job's own code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import tensorflow as tf

from configs.schema import Config
from preprocessing import manifest as manifests
from preprocessing.columns import END_SUFFIX, LENGTH_SUFFIX, Column, DType
from preprocessing.features import spec_of
from preprocessing.job import preprocess
from tests.quiet import QUIET
from tests.raw_logs import Row


def run(config: Config, tables: dict[str, str], output: Path, *beam_options: str) -> "Decoded":
    """Runs the job, and reads the dataset back."""
    preprocess(config, tables=tables, output=output, beam_options=beam_options, display=QUIET)
    return Decoded(output, config)


class Decoded:
    """A dataset, its records parsed by TensorFlow and its items by video id again."""

    def __init__(self, root: Path, config: Config):
        self.root = root
        self.manifest = manifests.read(root)
        self.spec = spec_of(config)
        self.catalog = self.table("catalog")
        self._video_of = ["", *(row["video_id"] for row in self.catalog)]

    def table(self, part: str) -> list[Row]:
        """The rows of a Parquet part."""
        return [
            row
            for file in self.manifest.part(part)
            for row in pl.read_parquet(self.root / file.name).to_dicts()
        ]

    def records(self, part: str) -> list[tf.train.Example]:
        """The records of a part."""
        return [
            tf.train.Example.FromString(record.numpy())
            for file in self.manifest.part(part)
            for record in tf.data.TFRecordDataset(str(self.root / file.name))
        ]

    def rows(self, part: str) -> list[Row]:
        """The rows of a part of records, sorted by what they hold."""
        is_train = part == "train"
        columns = self.spec.train_columns if is_train else self.spec.query_columns
        rows = [row for example in self.records(part) for row in rows_of(example, columns)]
        for row in rows:
            for name, value in row.items():
                if name == "item":
                    row[name] = self._video_of[value]
                elif name.endswith("_item"):
                    row[name] = [self._video_of[item] for item in value]
        return sorted(rows, key=lambda row: repr(sorted(row.items())))


def rows_of(example: tf.train.Example, columns: Sequence[Column]) -> list[Row]:
    """Unpacks a packed Example."""
    values = example.features.feature
    flat: dict[str, list[Any]] = {}
    for column in columns:
        feature = values[column.name]
        match column.dtype:
            case DType.INT64:
                flat[column.name] = list(feature.int64_list.value)
            case DType.FLOAT:
                flat[column.name] = list(feature.float_list.value)
            case DType.BYTES:
                flat[column.name] = [each.decode() for each in feature.bytes_list.value]
    rows = len(flat["timestamp"])
    table: dict[str, list[Any]] = {}
    for column in columns:
        found = flat[column.name]
        if column.is_prefix:
            ends = list(values[column.name + END_SUFFIX].int64_list.value)
            assert len(ends) == rows and max(ends) == len(found), column.name
            table[column.name] = [found[:end] for end in ends]
        elif column.is_ragged:
            lengths = list(values[column.name + LENGTH_SUFFIX].int64_list.value)
            assert len(lengths) == rows and sum(lengths) == len(found), column.name
            ends = [sum(lengths[: i + 1]) for i in range(rows)]
            table[column.name] = [
                found[end - n : end] for n, end in zip(lengths, ends, strict=True)
            ]
        elif column.length is not None:
            n = column.length
            assert len(found) == rows * n, column.name
            table[column.name] = [found[i * n : i * n + n] for i in range(rows)]
        else:
            assert len(found) == rows, column.name
            table[column.name] = found
    return [{name: values[i] for name, values in table.items()} for i in range(rows)]
