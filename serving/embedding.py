"""All user or item embeddings of a version as Parquet, in parts that a second run completes."""

import enum
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from rich.console import Console

from configs.errors import UserError
from configs.files import replacing, write_json
from preprocessing import manifest as manifests
from preprocessing.columns import TIMESTAMP, USER_ID
from serving.bundle import Bundle
from serving.publishing import read_report, version_dir_of
from serving.requests import UserStates, build_request, spec_of_dataset
from serving.saved_model import SavedModel
from serving.versions import LoadError

PLAN = "plan.json"
DONE = "embeddings.json"
_BATCH = 1_024  # requests in one call of the model

FloatArray = npt.NDArray[np.float32]


class Of(enum.Enum):
    """Whose embeddings are written."""

    USERS = "users"
    ITEMS = "items"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one file.

    Attributes:
        ids: n strings.
        vectors: float32 [n, dim].
    """

    ids: list[str]
    vectors: FloatArray


def write_embeddings(
    model: Path,
    output: Path,
    *,
    of: Of,
    dataset: Path | None,
    rows_per_part: int,
    console: Console,
) -> dict[str, Any]:
    """Writes `part-00000.parquet`, … with an id column and `embedding`, then `embeddings.json`.

    A part appears by rename, whole. A run over an unfinished directory writes the parts that are
    missing; of another version, dataset or part size it is refused.

    Args:
        model: a base path, whose newest version is taken, or a version directory.
        output: directory to write.
        of: users of the dataset, by their stored states; or items that the version lists, those
            that `serving.update` added among them.
        dataset: directory; needed for users.
        rows_per_part: rows of every file but the last.
        console: for progress.

    Raises:
        UserError: no such version or dataset, the directory holds something else or cannot be
            written, or a vector is not finite. Nothing is written before version and dataset are
            known to be sound.
    """
    if of is Of.USERS and dataset is None:
        raise UserError("--dataset: found none, expected the dataset whose users to embed")
    version = version_dir_of(model)
    plan = {
        "model": str(version.resolve()),
        "fingerprints": _fingerprints(version),
        "of": of.value,
        "dataset": str(dataset.resolve()) if dataset and of is Of.USERS else None,
        "rows_per_part": rows_per_part,
    }
    _require_same_plan(output, plan)
    if of is Of.USERS:
        assert dataset is not None
        source: _Source = _Users(version, dataset)
        id_column = USER_ID
    else:
        source, id_column = _Items(version), "item_id"
    _write_plan(output, plan)
    count = source.count
    starts = range(0, count, rows_per_part)
    made = 0
    for number, start in enumerate(starts):
        path = output / f"part-{number:05d}.parquet"
        if path.exists():
            continue
        part = source.part(start, min(start + rows_per_part, count))
        _write(path, part, id_column)
        made += 1
        console.print(f"{path.name}: {len(part.ids):,} of {count:,} {of.value}")
    done = {"of": of.value, "rows": count, "parts": len(starts), "dim": source.dim, **plan}
    write_json(output / DONE, done)
    return {"output": str(output), "rows": count, "parts": len(starts), "written_now": made}


def _fingerprints(version: Path) -> dict[str, Any]:
    names = ("version", "step", "spec_fingerprint", "assets_fingerprint")
    report = read_report(version, needs=names)
    return {name: report[name] for name in names}


def _require_same_plan(output: Path, plan: dict[str, Any]) -> None:
    """Checks that a directory is new, empty, or was begun by the same command."""
    path = output / PLAN
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if output.is_dir() and any(output.iterdir()):
            raise UserError(
                f"--output={output}: found other files there, expected an empty directory"
            ) from None
        return
    except OSError as error:
        raise UserError(f"--output={output}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: found no JSON: {error}; expected an empty directory") from None
    if not isinstance(before, dict):
        raise UserError(f"{path}: found no plan, expected an empty directory")
    for name, value in plan.items():
        if before.get(name) != value:
            raise UserError(
                f"--output={output}: found embeddings with {name} {before.get(name)!r}, "
                f"expected {value!r} or an empty directory"
            )


def _write_plan(output: Path, plan: dict[str, Any]) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / PLAN, plan)
    except OSError as error:
        raise UserError(f"--output={output}: cannot be written: {error.strerror}") from None


class _Source(Protocol):
    """Ids and vectors by row number."""

    count: int
    dim: int

    def part(self, start: int, stop: int) -> Part: ...


class _Users:
    """Users of a dataset, in the order of its files."""

    def __init__(self, version: Path, root: Path) -> None:
        try:
            self._version, self._model = version, SavedModel(version)
        except LoadError as error:
            raise UserError(f"--model={version}: cannot be loaded: {error}") from None
        manifest = manifests.read(root)
        self._spec = spec_of_dataset(manifest)
        signature = self._model.signatures["embed_user"]
        wanted = {c.name for c in self._spec.request_columns}
        if set(signature.input_names) != wanted:
            odd = min(set(signature.input_names) ^ wanted)
            raise UserError(f"--dataset={root}: its features are not the model's: {odd}")
        self._signature = signature
        files = [str(root / f.name) for f in manifest.part("users")]
        self._users = pads.dataset(files)
        self.count = self._users.count_rows()
        self.dim = self._embed(self._states(0, min(1, self.count))).shape[1] if self.count else 0

    def part(self, start: int, stop: int) -> Part:
        states = self._states(start, stop)
        part = Part(ids=list(states.user_id), vectors=self._embed(states))
        _require_finite(self._version, part, USER_ID)
        return part

    def _states(self, start: int, stop: int) -> UserStates:
        table = self._users.take(pa.array(np.arange(start, stop)))
        names = [c.name for c in self._spec.request_columns if c.name != TIMESTAMP]
        return UserStates(
            user_id=table[USER_ID].to_pylist(),
            as_of=table["as_of"].to_numpy(),
            columns={name: table[name].to_pylist() for name in names},
        )

    def _embed(self, states: UserStates) -> FloatArray:
        request = build_request(self._spec, states)
        arrays = [request[name] for name in self._signature.input_names]
        return np.concatenate(
            [
                self._signature.run(*(a[i : i + _BATCH] for a in arrays))[0]
                for i in range(0, len(states.user_id), _BATCH)
            ]
        )


class _Items:
    """Items that a version lists, with the vectors that it searches."""

    def __init__(self, version: Path) -> None:
        bundle = Bundle(version)
        listed = bundle.values[bundle.key("store", "listed")]
        vectors = np.concatenate(
            [
                bundle.values[bundle.key("searcher", "vectors")],
                bundle.values[bundle.key("store", "fresh_vectors")],
            ]
        )
        self._ids = bundle.values[bundle.key("store", "video_id")][listed]
        self._vectors = vectors[listed[1:]]
        self.count, self.dim = self._vectors.shape
        _require_finite(version, self.part(0, self.count), "item_id")

    def part(self, start: int, stop: int) -> Part:
        ids = [v.decode() for v in self._ids[start:stop]]
        return Part(ids=ids, vectors=self._vectors[start:stop])


def _require_finite(version: Path, part: Part, id_column: str) -> None:
    """Raises `UserError` naming the first id whose vector is not."""
    bad = np.flatnonzero(~np.isfinite(part.vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"--model={version}: found a vector that is not finite, of {id_column} "
            f"{part.ids[bad[0]]!r}, expected none"
        )


def _write(path: Path, part: Part, id_column: str) -> None:
    flat = pa.array(np.ascontiguousarray(part.vectors, np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, part.vectors.shape[1])
    table = pa.table({id_column: pa.array(part.ids, pa.string()), "embedding": vectors})
    with replacing(path) as beside:
        pq.write_table(table, beside)
