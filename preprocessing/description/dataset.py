"""The description of one dataset."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.kinds import KINDS, Feature
from configs.schema import Data, Describe
from configs.serialization import from_dict
from preprocessing.columns import ITEM, Column, DType
from preprocessing.description.columns import Described, Stored, described_columns
from preprocessing.description.drift import Drift, drift
from preprocessing.description.items import gather, missing_shares
from preprocessing.description.positives import Positives, describe_positives
from preprocessing.description.sample import RowSet, read_set
from preprocessing.description.statistics import Summary, summarize
from preprocessing.features import FeatureSpec
from preprocessing.manifest import Manifest

TRAIN = "train"
_TEST = tuple(f"queries/test/{protocol}" for protocol in ("next", "loo-strict", "loo-file"))
"""One query for each label of test, with features as a train row has them; the first there is."""

_ITEM_OF = {
    TRAIN: Column(name=ITEM, dtype=DType.INT64),
    **{part: Column(name="relevant_item", dtype=DType.INT64, unbounded=True) for part in _TEST},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDescription:
    """One column of a feature.

    Attributes:
        described: the column.
        train: over train rows.
        test: over the test split's labels; None for what queries do not hold.
        drift: from train to test; None without test, and for the row's own time, by which they
            were cut.
    """

    described: Described
    train: Summary
    test: Summary | None
    drift: Drift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A feature's vocabulary.

    Attributes:
        feature: its name.
        size: values in it.
        head: the first of them, most frequent first.
    """

    feature: str
    size: int
    head: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One dataset.

    Attributes:
        root: its directory.
        manifest: its manifest.
        spec: its features.
        features: every column described, in the spec's order.
        vocabularies: of all features that have one.
        positives: what the labels say.
        sampled: part and rows, all and sampled, of each set of rows read.
    """

    root: Path
    manifest: Manifest
    spec: FeatureSpec
    features: tuple[FeatureDescription, ...]
    vocabularies: tuple[Vocabulary, ...]
    positives: Positives
    sampled: tuple[tuple[str, int, int], ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each feature that drifts from train to test by more than its bound."""
        return tuple(
            warning(f.described.name, f.drift, "train", "test")
            for f in self.features
            if f.drift is not None and f.drift.is_large
        )


def warning(name: str, found: Drift, before: str, after: str) -> str:
    """One line about a drift."""
    line = f"{name}: {found.measure.value} {found.value:.3f} from {before} to {after}"
    line += f", bound {found.bound:g}"
    if found.most:
        line += f"; most in {found.most!r}, {found.before:.1%} to {found.after:.1%}"
    return line


def rows_to_read(manifest: Manifest) -> int:
    """Rows that `describe_dataset` will read."""
    return sum(manifest.rows(part) for part in _parts(manifest))


def describe_dataset(
    root: Path, manifest: Manifest, config: Describe, *, advance: Callable[[int], None]
) -> Description:
    """Describes one dataset.

    Memory holds a block of rows, `config.sample_rows` sampled rows of train and of test, and a
    count for each item; never the whole of a set of rows.

    Args:
        root: its directory.
        manifest: its manifest.
        config: sizes and bounds.
        advance: told how many rows were read since.

    Raises:
        UserError: a file is broken or not as the manifest says.
    """
    spec = _spec_of(manifest)
    described = described_columns(spec)
    sets = [
        _read(root, manifest, part, described, config=config, advance=advance)
        for part in _parts(manifest)
    ]
    of_sets = _summaries(root, manifest, sets, described)
    return Description(
        root=root,
        manifest=manifest,
        spec=spec,
        features=tuple(_feature(each, of_sets, config) for each in described),
        vocabularies=_vocabularies(root, manifest, head=config.head),
        positives=describe_positives(root, manifest, head=config.head),
        sampled=tuple((rows.part, rows.rows, len(rows.sample)) for rows in sets),
    )


@dataclass(slots=True, kw_only=True)
class _Rules:
    """The part of a config that says what a dataset's columns are."""

    features: dict[str, Feature]
    data: Data


def _spec_of(manifest: Manifest) -> FeatureSpec:
    """The dataset's own features.

    The rest of its config is left unread, so that a dataset can be looked at, and compared with a
    newer one, after a setting of training or evaluation was renamed.
    """
    kept = {name: manifest.config[name] for name in ("features", "data")}
    rules = from_dict(_Rules, kept, kinds=KINDS)
    return FeatureSpec(features=rules.features, data=rules.data)


def _parts(manifest: Manifest) -> tuple[str, ...]:
    test = [part for part in _TEST if manifest.rows(part)][:1]
    return (TRAIN, *test)


def _read(
    root: Path,
    manifest: Manifest,
    part: str,
    described: tuple[Described, ...],
    *,
    config: Describe,
    advance: Callable[[int], None],
) -> RowSet:
    stored = (Stored.ROW, Stored.LABEL) if part == TRAIN else (Stored.ROW,)
    of_rows = [d for d in described if d.stored in stored]
    return read_set(
        root,
        manifest,
        part,
        columns=[d.column for d in of_rows],
        item_column=_ITEM_OF[part],
        described=of_rows,
        sample_rows=config.sample_rows,
        advance=advance,
    )


def _summaries(
    root: Path, manifest: Manifest, sets: list[RowSet], described: tuple[Described, ...]
) -> list[dict[str, Summary]]:
    of_items = [d for d in described if d.stored in (Stored.CATALOG, Stored.STATISTICS)]
    missing = missing_shares(root, manifest, sets, of_items)
    found: list[dict[str, Summary]] = []
    for rows, shares in zip(sets, missing, strict=True):
        items = gather(root, manifest, rows, of_items)
        summaries = {}
        for each in described:
            if each in of_items:
                summaries[each.name] = summarize(
                    each, items, missing_share=shares[each.column.name]
                )
            elif each.column.name in rows.missing:
                share = rows.missing[each.column.name] / max(1, rows.rows)
                summaries[each.name] = summarize(each, rows.sample, missing_share=share)
        found.append(summaries)
    return found


def _feature(
    each: Described, of_sets: list[dict[str, Summary]], config: Describe
) -> FeatureDescription:
    train = of_sets[0][each.name]
    test = of_sets[1].get(each.name) if len(of_sets) > 1 else None
    return FeatureDescription(
        described=each,
        train=train,
        test=test,
        drift=None if test is None or each.is_row_time else drift(train, test, config),
    )


def _vocabularies(root: Path, manifest: Manifest, *, head: int) -> tuple[Vocabulary, ...]:
    return tuple(
        Vocabulary(feature=feature, size=len(values), head=tuple(values[:head]))
        for feature, values in read_vocabularies(root, manifest).items()
    )


def read_vocabularies(root: Path, manifest: Manifest) -> dict[str, list[str]]:
    """Values by feature, most frequent first."""
    (file,) = manifest.part("vocabularies")
    found: dict[str, Any] = json.loads((root / file.name).read_text(encoding="utf-8"))
    return found
