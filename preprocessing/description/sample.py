"""One pass over a set of rows: exact counts, and a uniform sample of bounded size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.errors import UserError
from preprocessing.columns import ITEM, SECONDS_PER_DAY, TIMESTAMP, USER_ID, Column, DType
from preprocessing.description.columns import Described
from preprocessing.description.reading import read_rows
from preprocessing.manifest import Manifest

DAY = "day"
_PRIORITY = "#priority"
_SEED = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSet:
    """A set of rows, train or the queries of a split.

    Attributes:
        part: of the manifest.
        rows: how many there are.
        missing: rows without a value by column, exact.
        item_count: int64 [items + 1], how often each catalog id is a positive, exact.
        sample: a uniform sample of rows, all columns.
        items: the sampled rows' positives: `item`, `day` and `timestamp` of the row.
    """

    part: str
    rows: int
    missing: dict[str, int]
    item_count: npt.NDArray[np.int64]
    sample: pl.DataFrame
    items: pl.DataFrame


def read_set(
    root: Path,
    manifest: Manifest,
    part: str,
    *,
    columns: Sequence[Column],
    item_column: Column,
    described: Sequence[Described],
    sample_rows: int,
    advance: Callable[[int], None],
) -> RowSet:
    """Reads all rows of one part, file by file, with a block and the sample in memory.

    Args:
        root: the dataset's directory.
        manifest: its manifest.
        part: which files.
        columns: to sample, those of `described` among them.
        item_column: what holds the row's positive, or positives.
        described: columns whose missing values are counted.
        sample_rows: size of the sample.
        advance: told how many rows were read since.

    Raises:
        UserError: a file is broken, or has another number of rows than the manifest says.
    """
    names = {USER_ID: Column(name=USER_ID, dtype=DType.BYTES)}
    names[TIMESTAMP] = Column(name=TIMESTAMP, dtype=DType.INT64)
    names |= {c.name: c for c in (*columns, item_column)}
    to_read = tuple(names.values())
    lacks = {d.column.name: d.is_missing() for d in described}
    missing = dict.fromkeys(lacks, 0)
    item_count = np.zeros(manifest.rows("catalog") + 1, np.int64)
    reservoir = Reservoir(sample_rows)
    total = 0
    for file in manifest.part(part):
        rows = 0
        for block in read_rows(root / file.name, to_read):
            rows += len(block)
            counted = block.select(lack.sum().alias(name) for name, lack in lacks.items())
            for name, count in (counted.row(0, named=True) if lacks else {}).items():
                missing[name] += count
            items = block[item_column.name]
            flat = items.explode().drop_nulls() if item_column.is_ragged else items
            item_count += np.bincount(flat.to_numpy(), minlength=len(item_count))
            reservoir.add(block)
            advance(len(block))
        if rows != file.rows:
            raise UserError(f"{root / file.name}: found {rows} rows, expected {file.rows}")
        total += rows
    sample = reservoir.sample(to_read)
    return RowSet(
        part=part,
        rows=total,
        missing=missing,
        item_count=item_count,
        sample=sample,
        items=_items_of(sample, item_column),
    )


def _items_of(sample: pl.DataFrame, item_column: Column) -> pl.DataFrame:
    items = sample.select(
        pl.col(item_column.name).alias(ITEM),
        pl.col(TIMESTAMP),
        (pl.col(TIMESTAMP) // SECONDS_PER_DAY).alias(DAY),
    )
    return items.explode(ITEM).drop_nulls(ITEM) if item_column.is_ragged else items


class Reservoir:
    """A uniform sample without replacement: the rows with the smallest of random priorities.

    Attributes:
        held: rows in memory, fewer than twice the sample and one block.
    """

    def __init__(self, size: int):
        """A sample of at most `size` rows."""
        self._size = size
        self._rng = np.random.default_rng(_SEED)
        self._bound = 1.0
        self._kept: list[pl.DataFrame] = []
        self.held = 0

    def add(self, block: pl.DataFrame) -> None:
        """Offers rows."""
        priority = pl.Series(_PRIORITY, self._rng.random(len(block)))
        kept = block.with_columns(priority).filter(pl.col(_PRIORITY) < self._bound)
        self._kept.append(kept)
        self.held += len(kept)
        if self.held >= 2 * self._size:
            self._cut()

    def _cut(self) -> None:
        kept = pl.concat(self._kept).bottom_k(self._size, by=_PRIORITY)
        self._kept, self.held = [kept], len(kept)
        if len(kept) == self._size:
            self._bound = float(np.max(kept[_PRIORITY].to_numpy()))

    def sample(self, columns: Sequence[Column]) -> pl.DataFrame:
        """The sample of all rows that were offered."""
        if not self._kept:
            return pl.DataFrame(schema={c.name: _dtype(c) for c in columns})
        self._cut()
        return self._kept[0].drop(_PRIORITY)


def _dtype(column: Column) -> pl.DataType:
    scalar = {DType.INT64: pl.Int64(), DType.FLOAT: pl.Float32(), DType.BYTES: pl.String()}
    of = scalar[column.dtype]
    return pl.List(of) if column.is_ragged or column.length is not None else of
