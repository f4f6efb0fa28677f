"""Videos to add, as the rows that a version's item variables take of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf
from rich.console import Console

from configs.errors import UserError
from preprocessing.columns import TIMESTAMP
from preprocessing.features import FeatureSpec, columns_of
from preprocessing.text import encoder_of
from preprocessing.video_file import UPLOAD_TIME, read_video_file
from serving.cpp_logs import only_errors
from serving.dataset_config import read_spec
from serving.index import scann_available
from serving.requests import Request, array_of

REPORT_FIELDS = ("as_of", "index")
"""What is read of the version's report."""

_FLAG = "add"
_VIDEOS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """Rows of the variables, and what became of the other videos.

    Attributes:
        video_id: n ids that the version does not know.
        values: `embedding` and the rows of `looked_up`, [n, ...] each.
        known: videos that the catalog holds.
        removed_before: videos that must stay out.
        repeated: rows of the file whose id an earlier row has.
    """

    video_id: list[str]
    values: dict[str, np.ndarray]
    known: int
    removed_before: int
    repeated: int


NO_ROWS = NewRows(video_id=[], values={}, known=0, removed_before=0, repeated=0)


def embed_videos(
    live: Path,
    path: Path,
    report: Mapping[str, Any],
    *,
    present: Collection[str],
    kept_out: Collection[str],
    console: Console,
) -> NewRows:
    """Reads videos and runs those that are new through the exported item tower.

    Args:
        live: the version directory.
        path: JSON Lines of videos, as in the raw contract's videos table.
        report: of the version.
        present: ids of the version's items.
        kept_out: ids that no list may hold.
        console: for progress.

    Raises:
        UserError: the version's index cannot be loaded here, a line breaks the contract, or what
            the tower makes of it is not finite.
    """
    if report["index"]["kind"] != "exact" and not scann_available():
        raise UserError(f"--model={live}: its index needs scann, which cannot be imported")
    spec = read_spec(live)
    new = read_video_file(path, spec, flag=_FLAG)
    known = [v in present for v in new.video_id]
    out = [v in kept_out for v in new.video_id]
    chosen = [i for i, (k, o) in enumerate(zip(known, out, strict=True)) if not k and not o]
    values: dict[str, np.ndarray] = {}
    if chosen:
        console.print(f"embedding {len(chosen):,} videos")
        values = _embedded(live, new.columns[chosen], spec, as_of=report["as_of"])
        if (bad := first_not_finite(values)) is not None:
            raise UserError(
                f"--{_FLAG}={path}, line {new.line[chosen[bad]]}: its embedding is not finite; "
                "expected numbers like those of the dataset"
            )
    return NewRows(
        video_id=[new.video_id[i] for i in chosen],
        values=values,
        known=sum(k and not o for k, o in zip(known, out, strict=True)),
        removed_before=sum(out),
        repeated=new.repeated,
    )


def _embedded(
    live: Path, videos: pl.DataFrame, spec: FeatureSpec, *, as_of: int
) -> dict[str, np.ndarray]:
    """What a version's item tower makes of videos: `embedding` and the rows of `looked_up`."""
    only_errors()
    loaded = tf.saved_model.load(str(live))
    blocks = []
    for start in range(0, len(videos), _VIDEOS_AT_ONCE):
        made = loaded.fresh_items(_raw(videos[start : start + _VIDEOS_AT_ONCE], spec, as_of=as_of))
        blocks.append({name: value.numpy() for name, value in made.items()})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def first_not_finite(values: Mapping[str, np.ndarray]) -> int | None:
    """The first row in which some of these arrays [n, ...] has a number that is not finite."""
    floats = [each for each in values.values() if np.issubdtype(each.dtype, np.floating)]
    is_bad = [~np.isfinite(each.reshape(len(each), -1)).all(axis=1) for each in floats]
    found = np.flatnonzero(np.logical_or.reduce(is_bad))
    return int(found[0]) if len(found) else None


def _raw(videos: pl.DataFrame, spec: FeatureSpec, *, as_of: int) -> dict[str, tf.Tensor]:
    """Videos without any event as the inputs of `embed_item`, texts replaced by their vectors."""
    encoded: Request = {
        columns_of(name, text)[0].name: encoder_of(text.encoder).encode(
            videos[text.column].to_list()
        )
        for name, text in spec.texts.items()
    }
    counts = {column.name for column in spec.statistic_columns}
    raw = {}
    for column in spec.item_request_columns:
        if column.name == TIMESTAMP:
            # Ages are as of the export, or of the video's own upload if that is later.
            values = np.maximum(as_of, videos[UPLOAD_TIME].to_numpy())
        elif column.name in counts:
            values = np.zeros(len(videos), np.int64)
        elif column.name in encoded:
            values = encoded[column.name]
        else:
            values = array_of(column, videos[column.name].to_list())
        listed = values.tolist() if values.dtype == object else values
        raw[column.name] = tf.constant(listed, column.dtype.value, shape=values.shape)
    return raw
