"""What a dataset takes over from the one before it, so that a checkpoint can be trained on.

An embedding row follows its vocabulary id. So the values of each vocabulary keep their ids, items
with a row of their own among them, and new ones come after; and scales stay, so that a number means
to the model what it meant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from configs.errors import UserError
from preprocessing import manifest as manifests
from preprocessing.columns import ITEM
from preprocessing.features import FeatureSpec, differences
from preprocessing.frames import pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """Of an earlier dataset.

    Attributes:
        items: packed rows of its catalog with an id embedding of their own, by catalog id.
        vocabularies: values by feature.
        statistics: `mean` and `std` by feature.
        assets_fingerprint: of its manifest.
    """

    items: bytes
    vocabularies: Mapping[str, list[str]]
    statistics: Mapping[str, Mapping[str, float]]
    assets_fingerprint: str


def load_previous(directory: Path, spec: FeatureSpec) -> Previous:
    """Reads what the next dataset takes over.

    Args:
        directory: of the earlier dataset.
        spec: of the next one.

    Raises:
        UserError: it is no dataset, or of other features.
    """
    manifest = manifests.read(directory, where="--previous")
    # Dates and rules of labels may differ: they decide which rows there are, not what ids mean.
    expected = json.loads(json.dumps(spec.describe()["features"]))
    if found := differences(manifest.spec["features"], expected):
        raise UserError(f"--previous={directory}: its features are not the config's: {found[0]}")
    bodies: dict[str, Any] = {
        part: json.loads((directory / manifest.part(part)[0].name).read_text(encoding="utf-8"))
        for part in ("vocabularies", "statistics")
    }
    catalog = pl.concat(
        [pl.read_parquet(directory / file.name) for file in manifest.part("catalog")]
    ).sort(ITEM)
    return Previous(
        items=pack(catalog.filter(pl.col("in_vocabulary") == 1)),
        vocabularies=bodies["vocabularies"],
        statistics=bodies["statistics"],
        assets_fingerprint=manifest.assets_fingerprint,
    )
