"""What the labels say of the dataset as a whole: time, popularity, and what is new in test."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from preprocessing.columns import ITEM, SECONDS_PER_DAY, TIMESTAMP
from preprocessing.manifest import Manifest

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFacts:
    """One split's labels.

    Attributes:
        split: its name.
        rows: labels.
        users: distinct.
        items: distinct.
        first: UTC seconds of the first; 0 if there is none.
        last: of the last.
        cold_items: share of rows whose item no train row has.
        cold_users: share of rows whose user no train row has.
    """

    split: str
    rows: int
    users: int
    items: int
    first: int
    last: int
    cold_items: float
    cold_users: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Positives:
    """All labels.

    Attributes:
        splits: train, validation, test.
        by_day: `day` (days since 1970-01-01), `split`, `rows`.
        popularity: int64, train rows by item, descending, items without any left out.
        catalog_items: items of the catalog.
        head: the most popular: `video_id`, `title`, `train_count`.
    """

    splits: tuple[SplitFacts, ...]
    by_day: pl.DataFrame
    popularity: npt.NDArray[np.int64]
    catalog_items: int
    head: pl.DataFrame

    def share_of_top(self, share: float) -> float:
        """The share of train rows whose item is among the most popular share of the catalog."""
        top = int(np.ceil(share * self.catalog_items))
        return float(self.popularity[:top].sum() / max(1, self.popularity.sum()))


def scan(root: Path, manifest: Manifest, part: str) -> pl.LazyFrame:
    """A Parquet part of the dataset."""
    return pl.scan_parquet([root / file.name for file in manifest.part(part)])


def describe_positives(root: Path, manifest: Manifest, *, head: int) -> Positives:
    """Reads the labels and the catalog's counts."""
    labels = scan(root, manifest, "positives")
    of_train = labels.filter(pl.col("split") == "train")
    known = [
        of_train.select(pl.col(name).unique(), pl.lit(True).alias(f"knows_{name}"))
        for name in (ITEM, "user")
    ]
    facts = (
        labels.join(known[0], on=ITEM, how="left")
        .join(known[1], on="user", how="left")
        .group_by("split")
        .agg(
            pl.len().alias("rows"),
            pl.col("user").n_unique().alias("users"),
            pl.col(ITEM).n_unique().alias("items"),
            pl.col(TIMESTAMP).min().alias("first"),
            pl.col(TIMESTAMP).max().alias("last"),
            pl.col("knows_item").is_null().mean().alias("cold_items"),
            pl.col("knows_user").is_null().mean().alias("cold_users"),
        )
        .collect(engine="streaming")
    )
    by_split = {row["split"]: row for row in facts.iter_rows(named=True)}
    nothing = dict.fromkeys(("rows", "users", "items", "first", "last"), 0)
    nothing |= dict.fromkeys(("cold_items", "cold_users"), 0)
    catalog = scan(root, manifest, "catalog")
    counts = catalog.select("train_count").collect()["train_count"]
    return Positives(
        splits=tuple(
            SplitFacts(**{**nothing, **by_split.get(split, {}), "split": split}) for split in SPLITS
        ),
        by_day=labels.group_by((pl.col(TIMESTAMP) // SECONDS_PER_DAY).alias("day"), "split")
        .agg(pl.len().alias("rows"))
        .sort("day", "split")
        .collect(engine="streaming"),
        popularity=np.sort(counts.filter(counts > 0).to_numpy())[::-1],
        catalog_items=len(counts),
        head=catalog.select("video_id", "title", "train_count")
        .sort("train_count", descending=True, maintain_order=True)
        .head(head)
        .collect(),
    )
