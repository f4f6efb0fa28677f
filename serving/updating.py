"""From the live version to the next, with videos added and removed: no training, no k-means."""

import shutil
from collections.abc import Iterable, Mapping
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
from serving.bundle import Bundle
from serving.cpp_logs import only_errors
from serving.gating import word
from serving.golden import Inputs, read_golden, write_golden
from serving.index import scann_available
from serving.new_videos import Input, NewVideos, read_videos
from serving.portable import FINGERPRINT
from serving.publishing import (
    building,
    publish,
    read_report,
    require_new,
    version_dir_of,
    write_report,
)
from serving.removed import read_removed, write_removed
from serving.requests import Request
from serving.saved_model import SavedModel
from serving.verdict import Verdict

_STORE = "store"
_VIDEOS_AT_ONCE = 4_096
_VARIABLES = "variables"
# Of the live version's report.
_NEEDS = (
    *("as_of", "id_column", "index", "max_latency_ms"),
    *("max_timestamp", "rebuild_share", "texts", "times"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an update did.

    Attributes:
        added: videos that are now searched beside the index.
        known: of the file to add, those that the catalog holds already; they stay as they are.
        removed_before: of the file to add, those that an earlier update removed; they stay out.
        repeated: of the file to add, rows whose id an earlier row has.
        removed: videos that no list will hold again.
        unknown: of the file to remove, ids that the catalog does not hold; should such a video be
            added later, it stays out.
    """

    added: int
    known: int
    removed_before: int
    repeated: int
    removed: int
    unknown: int


def update(
    model: Path,
    *,
    add: Path | None,
    remove: Iterable[str],
    version: int | None = None,
    force: bool = False,
    console: Console,
) -> dict[str, Any]:
    """Publishes the next version with videos added and removed, if it passes the gate.

    Args:
        model: a base path, or the directory of its newest version.
        add: JSON Lines of videos, as in the raw contract's videos table.
        remove: ids of videos that no list may hold from now on.
        version: instead of the next one.
        force: publish what the gate refuses.
        console: for progress.

    Returns:
        The report, which is also written to the version.

    Raises:
        UserError: there is no such version, it cannot be updated, a line is no video, or the gate
            refuses.
    """
    live = version_dir_of(model)
    base = live.parent
    if live != (newest := version_dir_of(base)):
        # What later versions added would be gone, and what they removed back.
        raise UserError(
            f"--model={model}: found version {live.name}, expected the newest, {newest.name}"
        )
    if version is not None:
        require_new(base, version)
    report = read_report(live, needs=_NEEDS)
    console.print(f"reading {live}")
    bundle = Bundle(live)
    items = _Items(bundle)
    removed = read_removed(live)
    leaving = set(remove)
    new = NewVideos(video_id=[], raw={}, repeated=0)
    if add is not None:
        new, rows = _embed(live, add, report, items, removed | leaving, console)
        items.append([new.video_id[i] for i in rows.chosen], rows.values)
    gone = items.unlist(leaving)
    change = Change(
        added=items.num_added,
        known=rows.known if add is not None else 0,
        removed_before=rows.removed_before if add is not None else 0,
        repeated=new.repeated,
        removed=gone,
        unknown=len(leaving) - len(leaving & items.ids),
    )
    with building(base) as place:
        console.print("writing")
        ignored = shutil.ignore_patterns(_VARIABLES, FINGERPRINT)
        shutil.copytree(live, place, ignore=ignored, dirs_exist_ok=True)
        bundle.write(place, items.changed())
        write_removed(place, removed | leaving)
        _answer_golden(live, place)
        share = (items.num_fresh + items.num_unlisted) / max(1, items.num_items)
        due = share >= report["rebuild_share"]
        write_report(
            place,
            report
            | {
                "beside": int(live.name),
                "updated_from": int(live.name),
                "items": {
                    "indexed": items.num_items - items.num_fresh,
                    "fresh": items.num_fresh,
                    "removed": items.num_unlisted,
                },
                "rebuild_due": due,
            },
        )
        console.print("gate: golden requests in a fresh process")
        verdict = Verdict()
        verdict.replay(place, max_latency_ms=report["max_latency_ms"])
        word(place, verdict, force=force)
        report = publish(place, version=version, force=force)
    if due:
        console.print(
            f"a rebuild is due: {100 * share:.0f} % of the items are fresh or removed, "
            f"from {100 * report['rebuild_share']:.0f} % on (config.export.rebuild_share) "
            "serving.export should build the index anew"
        )
    console.print(f"published {base / str(report['version'])}")
    return {
        "model": str(base / str(report["version"])),
        "version": report["version"],
        "updated_from": int(live.name),
        **{name: getattr(change, name) for name in Change.__slots__},
        "items": report["items"],
        "rebuild_due": due,
        "replay": verdict.checks["replay"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """New rows of the variables.

    Attributes:
        chosen: which of the videos are added.
        values: `embedding` and the rows of `looked_up`, [chosen, ...] each.
        known: videos that the catalog holds.
        removed_before: videos that must stay out.
    """

    chosen: list[int]
    values: dict[str, np.ndarray]
    known: int
    removed_before: int


class _Items:
    """The variables of `serving.item_store.ItemStore` and `looked_up`, with rows added."""

    def __init__(self, bundle: Bundle) -> None:
        """Takes the values that are there."""
        self._keys = {
            name: bundle.key(_STORE, name)
            for name in ("video_id", "listed", "log_popularity", "fresh_vectors")
        }
        self._keys["table-keys"] = bundle.key(_STORE, "table", attribute="-keys")
        self._keys["table-values"] = bundle.key(_STORE, "table", attribute="-values")
        self.looked_up = {n: bundle.key("looked_up", n) for n in bundle.children("looked_up")}
        self._keys |= {f"looked_up/{name}": key for name, key in self.looked_up.items()}
        self._values = {name: bundle.values[key] for name, key in self._keys.items()}
        self.ids = {v.decode() for v in self._values["video_id"][1:]}
        self.num_added = 0

    @property
    def num_items(self) -> int:
        return len(self._values["video_id"]) - 1

    @property
    def num_fresh(self) -> int:
        return len(self._values["fresh_vectors"])

    @property
    def num_unlisted(self) -> int:
        return int(np.count_nonzero(~self._values["listed"][1:]))

    def append(self, video_id: list[str], rows: dict[str, np.ndarray]) -> None:
        """Adds items that are not there yet."""
        count = len(video_id)
        ids = np.array([v.encode() for v in video_id], object)
        new = np.arange(self.num_items + 1, self.num_items + 1 + count)
        values = self._values
        values["video_id"] = np.concatenate([values["video_id"], ids])
        values["listed"] = np.concatenate([values["listed"], np.ones(count, bool)])
        # Row 0 holds the log popularity of an item without any events.
        floor = np.repeat(values["log_popularity"][:1], count)
        values["log_popularity"] = np.concatenate([values["log_popularity"], floor])
        values["fresh_vectors"] = np.concatenate([values["fresh_vectors"], rows["embedding"]])
        values["table-keys"] = np.concatenate([values["table-keys"], ids])
        values["table-values"] = np.concatenate([values["table-values"], new])
        for name in self.looked_up:
            key = f"looked_up/{name}"
            values[key] = np.concatenate(_of_equal_width(values[key], rows[name]))
        self.ids |= set(video_id)
        self.num_added += count

    def unlist(self, leaving: set[str]) -> int:
        """Takes items out of every list; returns how many were in."""
        is_leaving = np.isin(self._values["video_id"], [v.encode() for v in leaving])
        listed = self._values["listed"]
        gone = is_leaving & listed
        self._values["listed"] = listed & ~gone
        return int(gone.sum())

    def changed(self) -> dict[str, np.ndarray]:
        """All values, by checkpoint key."""
        return {key: self._values[name] for name, key in self._keys.items()}


def _of_equal_width(one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Rows of lists, padded with -1 to the longer of both, as `BagEncoder` pads."""
    if one.ndim != 2 or one.shape[1] == other.shape[1]:
        return [one, other]
    width = max(one.shape[1], other.shape[1])
    return [
        np.pad(each, [(0, 0), (0, width - each.shape[1])], constant_values=-1)
        for each in (one, other)
    ]


def _encode_texts(raw: Request, texts: Mapping[str, Mapping[str, str]]) -> Request:
    """Text columns replaced by what their encoders make of them."""
    encoded = {n: v for n, v in raw.items() if n not in {t["column"] for t in texts.values()}}
    for name, text in texts.items():
        encoder = encoder_of(TextEncoder(text["encoder"]))
        encoded[name] = encoder.encode([v.decode() for v in raw[text["column"]]])
    return encoded


def _embed(
    live: Path,
    path: Path,
    report: dict[str, Any],
    items: _Items,
    kept_out: set[str],
    console: Console,
) -> tuple[NewVideos, _Rows]:
    """Reads the videos to add and runs those that are new through the exported item tower."""
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
    known = [v in items.ids for v in new.video_id]
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
    values = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return new, _Rows(
        chosen=chosen,
        values=values,
        known=sum(k and not o for k, o in zip(known, out, strict=True)),
        removed_before=sum(out),
    )


def _answer_golden(live: Path, place: Path) -> None:
    """The golden requests of the live version, answered by the new one."""
    model = SavedModel(place)

    def answer(name: str, inputs: Inputs) -> Inputs:
        signature = model.signatures[name]
        outputs = signature.run(*(inputs[n] for n in signature.input_names))
        return dict(zip(signature.output_names, outputs, strict=True))

    asked = []
    for name, inputs, _ in read_golden(live):
        if name == "similar_items":  # may ask for an item that is gone
            inputs = _still_listed(inputs, place)
        asked.append((name, inputs))
    write_golden(place, asked, answer)
    model.close()


def _still_listed(inputs: Inputs, place: Path) -> Inputs:
    removed = {v.encode() for v in read_removed(place)}
    return {
        name: np.array([v for v in ids if v not in removed], object) for name, ids in inputs.items()
    }
