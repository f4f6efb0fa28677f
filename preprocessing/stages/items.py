"""The catalog, statistics of its items by day, and the vectors of their texts."""

from collections.abc import Iterable, Iterator

import polars as pl

from configs.kinds import TextEncoder
from preprocessing import tally
from preprocessing.catalog import (
    build_catalog,
)
from preprocessing.columns import ITEM
from preprocessing.contract import VIDEO_ID
from preprocessing.features import TEXT_LENGTH, FeatureSpec
from preprocessing.frames import pack, unpack, unpack_all
from preprocessing.item_statistics import (
    add_daily_sums,
    item_counts,
    item_statistics,
)
from preprocessing.manifest import Splits
from preprocessing.previous import Previous
from preprocessing.text import encoder_of


def number_items(
    group: tuple[int, Iterable[bytes]],
    spec: FeatureSpec,
    videos: tuple[bytes, int],
    splits: Splits,
    tally_labels: tally.Tally,
    previous: Previous | None = None,
) -> tuple[bytes, int]:
    """The catalog, and how many events name a video that the videos table does not have."""
    del tally_labels
    facts = unpack_all(group[1])
    assert facts is not None
    catalog, unknown = build_catalog(
        unpack(videos[0]),
        facts,
        spec=spec,
        splits=splits,
        previous=unpack(previous.items) if previous else None,
    )
    return pack(catalog), unknown


TEXTS_AT_ONCE = 1_024
"""Distinct texts in one element of the job, so that workers share them."""


def distinct_texts(
    videos: tuple[bytes, int], spec: FeatureSpec
) -> Iterator[tuple[TextEncoder, list[str]]]:
    """Every text that an encoder must see, once each, in blocks that the catalog alone decides."""
    columns: dict[TextEncoder, set[str]] = {}
    for feature in spec.texts.values():
        columns.setdefault(feature.encoder, set()).add(feature.column)
    for encoder, names in columns.items():
        table = unpack(videos[0], sorted(names))
        texts = pl.concat([table[name].alias("text") for name in sorted(names)])
        texts = texts.drop_nulls().unique().sort()
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield encoder, texts[start : start + TEXTS_AT_ONCE].to_list()


def embed_texts(block: tuple[TextEncoder, list[str]]) -> tuple[TextEncoder, bytes]:
    """The vectors of a block: frames of `text` and `vector`, by encoder."""
    encoder, texts = block
    vectors = encoder_of(encoder).encode(texts)
    vector = pl.Series(vectors, dtype=pl.Array(pl.Float32, TEXT_LENGTH))
    return encoder, pack(pl.DataFrame({"text": texts, "vector": vector.arr.to_list()}))


def statistics_by_day(
    group: tuple[int, Iterable[bytes]], spec: FeatureSpec, catalog: tuple[bytes, int]
) -> bytes:
    """Item statistics with the catalog's ids."""
    daily = unpack_all(group[1])
    assert daily is not None
    ids = unpack(catalog[0], [VIDEO_ID, ITEM])
    daily = add_daily_sums(daily).join(ids, on=VIDEO_ID, how="left")
    return pack(item_statistics(daily, item_counts(spec)))
