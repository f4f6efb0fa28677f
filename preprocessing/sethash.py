"""One short digest of what a dataset says, whatever the order of its rows or the cut of its files.

The set-hash of a part is the sum, modulo 2**64 in two lanes, of a hash of each decoded row: rows in
another order, in other files or packed otherwise give the same, and a row that is lost, doubled or
changed in one bit gives another. Items are hashed by video id. It is made to find mistakes, not
forgeries.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.kinds import KINDS
from configs.schema import Config
from configs.serialization import from_dict
from preprocessing import manifest as manifests
from preprocessing.columns import ITEM
from preprocessing.description.reading import read_rows
from preprocessing.features import FeatureSpec, spec_of
from preprocessing.frames import flatten
from preprocessing.hashing import UInt64s, combine, hash_strings, mix
from preprocessing.manifest import Manifest

_LANES = np.array([0, 0xD1B54A32D192ED03], np.uint64)
_POSITION = np.uint64(0x9E3779B97F4A7C15)
_UNCOUNTED = ("dead_letter",)  # names files, which may be cut otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class SetHash:
    """What a part of a dataset holds.

    Attributes:
        rows: how many.
        digest: 32 hexadecimal digits; the same for the same multiset of rows.
    """

    rows: int
    digest: str


def set_hashes(directory: str | Path, *, where: str = manifests.DATASET) -> dict[str, SetHash]:
    """The set-hash of each part of a dataset: rows, queries, tables, vocabularies, statistics.

    Args:
        directory: what `preprocessing.run` wrote.
        where: the flag that names the directory, for messages.

    Returns:
        By the part's name in the manifest, in order; dead letters are left out, since they name
        the files that they came from.

    Raises:
        UserError: it is no dataset.
    """
    root = Path(directory)
    manifest = manifests.read(root, where=where)
    spec = spec_of(from_dict(Config, manifest.config, kinds=KINDS))
    items = _item_hashes(root, manifest)
    found = {}
    for part in sorted({file.part for file in manifest.files} - set(_UNCOUNTED)):
        sums = np.zeros(len(_LANES), np.uint64)
        rows = 0
        for file in manifest.part(part):
            hashes = _hashes_of(root / file.name, part, spec, items)
            sums += mix(hashes[None, :] ^ _LANES[:, None]).sum(axis=1, dtype=np.uint64)
            rows += len(hashes)
        found[part] = SetHash(rows=rows, digest="".join(f"{lane:016x}" for lane in sums.tolist()))
    return found


def dataset_hash(parts: Mapping[str, SetHash]) -> str:
    """One digest, 32 hexadecimal digits, of the set-hashes of all parts."""
    text = json.dumps({name: [part.rows, part.digest] for name, part in sorted(parts.items())})
    return sha256(text.encode()).hexdigest()[:32]


def differing(found: Mapping[str, SetHash], other: Mapping[str, SetHash]) -> list[str]:
    """The parts that two datasets do not have alike."""
    return sorted(p for p in {*found, *other} if found.get(p) != other.get(p))


def row_hashes(columns: Mapping[str, UInt64s]) -> UInt64s:
    """A hash of each row, uint64 [n], from a hash of each value of its columns by name.

    Names are part of it, their order is not.
    """
    names = sorted(columns)
    of_names = hash_strings(pl.Series(names, dtype=pl.String))
    parts = [columns[name] ^ of_names[i] for i, name in enumerate(names)]
    return combine(*parts)


def list_hashes(values: UInt64s, lengths: npt.NDArray[np.int64]) -> UInt64s:
    """A hash of each list, uint64 [n], from hashes of their values [total] in order."""
    ends = np.cumsum(lengths)
    position = np.arange(len(values)) - np.repeat(ends - lengths, lengths)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(mix(values + position.astype(np.uint64) * _POSITION), out=sums[1:])
    return combine(sums[ends] - sums[ends - lengths], lengths)


def _hashes_of(path: Path, part: str, spec: FeatureSpec, items: UInt64s) -> UInt64s:
    if path.suffix == ".json":
        body = json.loads(path.read_text(encoding="utf-8"))
        texts = [json.dumps([name, value], sort_keys=True) for name, value in body.items()]
        return hash_strings(pl.Series(texts, dtype=pl.String))
    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
        numbered = part == "catalog"  # which is what says which item a number is
        return row_hashes(
            {
                name: _series_hashes(table[name])
                if numbered
                else _column_hashes(table[name], items)
                for name in table.columns
            }
        )
    columns = spec.train_columns if part == "train" else spec.query_columns
    blocks = [
        row_hashes({name: _column_hashes(frame[name], items) for name in frame.columns})
        for frame in read_rows(path, columns)
    ]
    return np.concatenate([np.zeros(0, np.uint64), *blocks])


def _column_hashes(series: pl.Series, items: UInt64s) -> UInt64s:
    """Hashes of a column of rows or queries, items by what is in `items` at their catalog id."""
    if series.name == ITEM:
        return items[series.to_numpy()]
    if series.name.endswith(f"_{ITEM}"):
        flat, lengths = flatten(series)
        return list_hashes(items[flat], lengths)
    return _series_hashes(series)


def _series_hashes(series: pl.Series) -> UInt64s:
    if series.dtype == pl.String:
        return hash_strings(series.fill_null(""))
    if isinstance(series.dtype, pl.List):
        flat, lengths = flatten(series)
        of_values = (
            hash_strings(pl.Series(flat.tolist(), dtype=pl.String))
            if flat.dtype == object
            else _number_hashes(flat)
        )
        return list_hashes(of_values, lengths)
    return _number_hashes(series.to_numpy())


def _number_hashes(values: npt.NDArray[Any]) -> UInt64s:
    if values.dtype.kind == "f":
        # -0.0 and 0.0 are one value.
        return mix((values.astype(np.float32) + np.float32(0.0)).view(np.uint32).astype(np.uint64))
    return mix(values.astype(np.int64))


def _item_hashes(root: Path, manifest: Manifest) -> UInt64s:
    """A hash of the video id of each catalog id; of '' for 0."""
    table = pl.concat(
        [
            pl.read_parquet(root / f.name, columns=[ITEM, "video_id"])
            for f in manifest.part("catalog")
        ]
    ).sort(ITEM)
    return hash_strings(pl.concat([pl.Series([""]), table["video_id"].alias("")]))
