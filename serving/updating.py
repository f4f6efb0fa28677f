"""From the live version to the next, with videos added and removed: no training, no k-means."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from configs.errors import UserError
from serving.bundle import Bundle
from serving.gating import word
from serving.golden import Inputs, read_golden, write_golden
from serving.item_variables import ItemVariables
from serving.new_rows import NO_ROWS, REPORT_FIELDS, embed_videos
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
from serving.saved_model import SavedModel
from serving.verdict import Verdict

_VARIABLES = "variables"
# Of the live version's report.
_NEEDS = (*REPORT_FIELDS, "max_latency_ms", "rebuild_share")


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
        UserError: there is no such version, it cannot be updated, the file to add holds no video
            or a line that breaks the contract, or the gate refuses.
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
    items = ItemVariables(bundle)
    removed = read_removed(live)
    leaving = set(remove)
    rows = NO_ROWS
    if add is not None:
        rows = embed_videos(
            live, add, report, present=items.ids, kept_out=removed | leaving, console=console
        )
        if rows.video_id:
            items.append(rows.video_id, rows.values)
    change = Change(
        added=len(rows.video_id),
        known=rows.known,
        removed_before=rows.removed_before,
        repeated=rows.repeated,
        removed=items.unlist(leaving),
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


def _answer_golden(live: Path, place: Path) -> None:
    """The golden requests of the live version, answered by the new one."""
    model = SavedModel(place)

    asked = []
    for name, inputs, _ in read_golden(live):
        if name == "similar_items":  # may ask for an item that is gone
            inputs = _still_listed(inputs, place)
        asked.append((name, inputs))
    write_golden(place, asked, lambda name, inputs: model.signatures[name].answer(inputs))
    model.close()


def _still_listed(inputs: Inputs, place: Path) -> Inputs:
    removed = {v.encode() for v in read_removed(place)}
    return {
        name: np.array([v for v in ids if v not in removed], object) for name, ids in inputs.items()
    }
