"""The last steps of the job: each writes files, and says what it wrote."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from configs.kinds import TextEncoder
from preprocessing import assets
from preprocessing.catalog import as_column, key_codes, share_columns
from preprocessing.columns import POSITIVE_COLUMNS, USER_ID
from preprocessing.contract import VIDEO_ID
from preprocessing.events import FILE
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.frames import pack, unpack, unpack_all
from preprocessing.item_statistics import item_counts, only_changes
from preprocessing.manifest import Splits
from preprocessing.parsing import LINE
from preprocessing.previous import Previous
from preprocessing.progress import count
from preprocessing.tally import Tally
from preprocessing.writer import write_json, write_json_lines, write_parquet, write_records

SUMMARY = "summary.json"

Written = dict[str, Any]
"""`name` below the run's folder, `part` and `rows` of a file, and `records` of one that has any."""


def write_rows(
    group: tuple[str, Iterable[bytes]], folder: str, spec: FeatureSpec, catalog: tuple[bytes, int]
) -> Written:
    """Writes the rows of one file of train or of queries."""
    name, parts = group
    frame = unpack_all(parts)
    assert frame is not None
    part = posixpath.dirname(name)
    shares = share_columns(spec)
    items = unpack(catalog[0], sorted(set(shares.values())))
    records = write_records(
        posixpath.join(folder, f"{name}.tfrecord"),
        frame,
        spec.train_columns if part == "train" else spec.query_columns,
        keys={f"{n}_key": key_codes(items, c)[0] for n, c in shares.items()},
        rows_per_record=spec.data.rows_per_record,
    )
    count(len(frame), "rows and queries")
    return {"name": f"{name}.tfrecord", "part": part, "rows": len(frame), "records": records}


def write_users(group: tuple[int, Iterable[bytes]], folder: str) -> Written:
    """Writes every user's latest state, by user id."""
    users = unpack_all(group[1])
    assert users is not None
    rows = write_parquet(posixpath.join(folder, "users.parquet"), users.sort(USER_ID))
    return {"name": "users.parquet", "part": "users", "rows": rows}


def write_positives(group: tuple[int, Iterable[bytes]], folder: str) -> Written:
    """Writes every label, users by their row in `users`."""
    positives = unpack_all(group[1])
    assert positives is not None
    users = positives[USER_ID].unique().sort()
    table = (
        positives.with_columns(users.search_sorted(positives[USER_ID]).cast(pl.Int64).alias("user"))
        .drop_nulls("order")
        .sort("user", "order")
        .select(c.name for c in POSITIVE_COLUMNS)
    )
    rows = write_parquet(posixpath.join(folder, "positives.parquet"), table)
    return {"name": "positives.parquet", "part": "positives", "rows": rows}


def write_catalog(
    catalog: tuple[bytes, int],
    folder: str,
    spec: FeatureSpec,
    videos: tuple[bytes, int],
    texts: list[tuple[TextEncoder, bytes]],
) -> Written:
    """Writes the catalog, with the vectors of texts; zeros where there is none."""
    items = unpack(catalog[0])
    for name, feature in spec.texts.items():
        column = columns_of(name, feature)[0]
        text_of = unpack(videos[0], [VIDEO_ID, feature.column]).rename({feature.column: "text"})
        vectors = unpack_all(packed for encoder, packed in texts if encoder is feature.encoder)
        if vectors is None:
            vectors = pl.DataFrame(schema={"text": pl.String, column.name: pl.List(pl.Float32)})
        items = (
            items.join(text_of, on=VIDEO_ID, how="left", maintain_order="left")
            .join(
                vectors.rename({"vector": column.name}, strict=False),
                on="text",
                how="left",
                maintain_order="left",
            )
            .drop("text")
            .with_columns(as_column(column))
        )
    items = items.select(c.name for c in spec.catalog_columns)
    rows = write_parquet(posixpath.join(folder, "catalog.parquet"), items)
    return {"name": "catalog.parquet", "part": "catalog", "rows": rows}


def write_item_statistics(statistics: bytes, folder: str, spec: FeatureSpec) -> Written:
    """Writes item statistics."""
    table = only_changes(unpack(statistics), list(item_counts(spec)))
    rows = write_parquet(posixpath.join(folder, "item_statistics.parquet"), table)
    return {"name": "item_statistics.parquet", "part": "item_statistics", "rows": rows}


def write_dead_letters(group: tuple[int, Iterable[bytes]], folder: str) -> Written:
    """Writes what broke the contract."""
    letters = unpack_all(group[1])
    assert letters is not None
    letters = letters.sort(FILE, LINE).select(FILE, LINE, "reason", "raw")
    name = "dead_letter/00000.jsonl"
    write_json_lines(posixpath.join(folder, name), letters.iter_rows(named=True))
    return {"name": name, "part": "dead_letter", "rows": len(letters)}


def write_assets(
    group: tuple[int, Iterable[bytes]],
    folder: str,
    spec: FeatureSpec,
    catalog: tuple[bytes, int],
    tally_rows: Tally,
    previous: Previous | None = None,
) -> list[Written]:
    """Writes vocabularies and scales."""
    of_items = assets.item_value_counts(unpack(catalog[0]), spec)
    counts = unpack_all([*group[1], pack(of_items)])
    assert counts is not None
    found: dict[str, Mapping[str, Any]] = {
        "vocabularies": assets.vocabularies(
            counts, spec, previous=previous.vocabularies if previous else None
        ),
        "statistics": previous.statistics
        if previous
        else assets.scales(tally_rows["scales"], spec),
    }
    for part, body in found.items():
        write_json(posixpath.join(folder, f"{part}.json"), body)
    return [{"name": f"{p}.json", "part": p, "rows": len(body)} for p, body in found.items()]


def write_summary(
    files: list[Written],
    folder: str,
    splits: Splits,
    tables: Tally,
    labels: Tally,
    rows: Tally,
    videos: tuple[bytes, int],
    catalog: tuple[bytes, int],
) -> None:
    """Writes what the manifest is made of; the job is done."""
    body: Mapping[str, Any] = {
        "files": sorted(files, key=lambda file: file["name"]),
        "splits": asdict(splits),
        "tables": tables,
        "labels": labels,
        "unknown_user": rows["unknown_user"],
        "duplicate_user": rows["duplicate_user"],
        "duplicate_video": videos[1],
        "unknown_video": catalog[1],
    }
    write_json(posixpath.join(folder, SUMMARY), body)
