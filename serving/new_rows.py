"""Videos to add, as the rows that a version's item variables take of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console

from configs.errors import UserError
from configs.kinds import TextEncoder
from preprocessing.columns import TIMESTAMP
from preprocessing.text import encoder_of
from serving.cpp_logs import only_errors
from serving.index import scann_available
from serving.new_videos import Input, read_videos
from serving.requests import Request

REPORT_FIELDS = ("as_of", "id_column", "index", "max_timestamp", "texts", "times")
"""What is read of the version's report."""

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
        UserError: the version's index cannot be loaded here, or a line is no video.
    """
    if report["index"]["kind"] != "exact" and not scann_available():
        raise UserError(f"--model={live}: its index needs scann, which cannot be imported")
    only_errors()
    loaded = tf.saved_model.load(str(live))
    _, structured = loaded.signatures["embed_item"].structured_input_signature
    inputs = {
        name: Input(
            dtype=spec.dtype.name,
            shape=tuple(spec.shape.as_list()[1:]),
            latest=report["max_timestamp"] if name in report["times"] else None,
        )
        for name, spec in structured.items()
    }
    texts = report["texts"]
    columns = {name: each for name, each in inputs.items() if name not in texts}
    columns |= {text["column"]: Input(dtype="string", shape=()) for text in texts.values()}
    new = read_videos(path, columns, id_column=report["id_column"])
    raw_columns = _encode_texts(new.raw, texts)
    known = [v in present for v in new.video_id]
    out = [v in kept_out for v in new.video_id]
    chosen = [i for i, (k, o) in enumerate(zip(known, out, strict=True)) if not k and not o]
    console.print(f"embedding {len(chosen):,} videos")
    # Ages are as of the export, or of the video's own upload if that is later.
    now = np.maximum(report["as_of"], new.raw.get("upload_time", np.zeros(len(known), np.int64)))
    blocks = []
    for start in range(0, max(1, len(chosen)), _VIDEOS_AT_ONCE):
        rows = chosen[start : start + _VIDEOS_AT_ONCE]
        raw = {
            name: tf.constant(
                column[rows].tolist() if column.dtype == object else column[rows],
                inputs[name].dtype,
                shape=column[rows].shape,
            )
            for name, column in raw_columns.items()
        }
        raw[TIMESTAMP] = tf.constant(now[rows], tf.int64)
        blocks.append({name: v.numpy() for name, v in loaded.fresh_items(raw).items()})
    return NewRows(
        video_id=[new.video_id[i] for i in chosen],
        values={name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]},
        known=sum(k and not o for k, o in zip(known, out, strict=True)),
        removed_before=sum(out),
        repeated=new.repeated,
    )


def _encode_texts(raw: Request, texts: Mapping[str, Mapping[str, str]]) -> Request:
    """Text columns replaced by what their encoders make of them."""
    encoded = {n: v for n, v in raw.items() if n not in {t["column"] for t in texts.values()}}
    for name, text in texts.items():
        encoder = encoder_of(TextEncoder(text["encoder"]))
        encoded[name] = encoder.encode([v.decode() for v in raw[text["column"]]])
    return encoded
