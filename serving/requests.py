"""From a user's stored state to what the model is asked with. NumPy only: clients import this."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.kinds import KINDS
from configs.schema import Config
from configs.serialization import from_dict
from preprocessing.columns import TIMESTAMP, USER_ID, Column, DType, default_of
from preprocessing.features import FeatureSpec, spec_of
from preprocessing.manifest import Manifest

Request = dict[str, npt.NDArray[Any]]

_SHOWN = 12  # Of a fingerprint's digits.

_NUMPY = {DType.INT64: np.int64, DType.FLOAT: np.float32, DType.BYTES: object}


def spec_of_dataset(manifest: Manifest) -> FeatureSpec:
    """The spec of the config that a dataset was made with."""
    return spec_of_config(manifest.config)


def spec_of_config(config: dict[str, Any]) -> FeatureSpec:
    """The spec of a config as JSON."""
    return spec_of(from_dict(Config, config, kinds=KINDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class UserStates:
    """The latest state of some users, as a feature store would hand it out.

    Attributes:
        user_id: [n].
        as_of: int64 [n], when the state was taken, UTC seconds.
        columns: the request's columns but `timestamp`, [n] values or lists each.
    """

    user_id: Sequence[str]
    as_of: npt.NDArray[np.int64]
    columns: Mapping[str, Sequence[Any]]


def load_states(
    root: Path,
    manifest: Manifest,
    spec: FeatureSpec,
    *,
    user_ids: Sequence[str] | None = None,
    sample: int | None = None,
) -> UserStates:
    """Reads users' states from a dataset.

    Args:
        root: the dataset's directory.
        manifest: its manifest.
        spec: of its features.
        user_ids: these users; those the dataset does not know are left out.
        sample: so many of all users, the same ones each time.
    """
    files = [str(root / f.name) for f in manifest.part("users")]
    table = pads.dataset(files)
    if user_ids is not None:
        states = table.to_table(filter=pads.field(USER_ID).isin(list(user_ids)))
    else:
        states = table.to_table()
        if sample is not None and sample < states.num_rows:
            order = np.argsort([zlib.crc32(u.encode()) for u in states[USER_ID].to_pylist()])
            states = states.take(pa.array(np.sort(order[:sample])))
    names = [c.name for c in spec.request_columns if c.name != TIMESTAMP]
    return UserStates(
        user_id=states[USER_ID].to_pylist(),
        as_of=states["as_of"].to_numpy(),
        columns={name: states[name].to_pylist() for name in names},
    )


def load_state(root: Path, manifest: Manifest, spec: FeatureSpec, user_id: str) -> UserStates:
    """Reads one user's state.

    Raises:
        UserError: the dataset does not know the user.
    """
    states = load_states(root, manifest, spec, user_ids=[user_id])
    if not states.user_id:
        raise UserError(f"--user_id: found {user_id!r}, expected a user of --dataset={root}")
    return states


def longest_history(states: UserStates, spec: FeatureSpec) -> str:
    """The user id with the most history, the first of them.

    Raises:
        UserError: there are no users.
    """
    if not states.user_id:
        raise UserError("--dataset: found no user, expected at least one")
    lengths = [len(h or ()) for h in states.columns[f"{spec.sequence[0]}_item_id"]]
    return states.user_id[int(np.argmax(lengths))]


def build_request(
    spec: FeatureSpec, states: UserStates, *, timestamp: int | None = None
) -> Request:
    """The inputs of `serving_default` for some users.

    Args:
        spec: of the features.
        states: n users.
        timestamp: time of the request, UTC seconds; without it, each state's own time.

    Returns:
        By input name: [n], [n, length] for vectors, [n, longest] for lists, padded at the end.
    """
    count = len(states.user_id)
    times = states.as_of if timestamp is None else np.full(count, timestamp)
    request: Request = {}
    for column in spec.request_columns:
        if column.name == TIMESTAMP:
            request[TIMESTAMP] = times.astype(np.int64)
        else:
            request[column.name] = array_of(column, states.columns[column.name])
    return request


def empty_request(spec: FeatureSpec, count: int) -> Request:
    """A request for `count` users of whom nothing is known."""
    request: Request = {}
    for column in spec.request_columns:
        values: list[Any] = [None] * count
        if column.is_ragged:
            values = [[] for _ in range(count)]
        request[column.name] = array_of(column, values)
    return request


def array_of(column: Column, values: Sequence[Any]) -> npt.NDArray[Any]:
    """The values of a column of requests, None where missing, as an array: see `build_request`."""
    dtype = _NUMPY[column.dtype]
    default = default_of(column)
    if column.length is not None:
        zeros = [0.0] * column.length
        return np.array([zeros if v is None else v for v in values], dtype)
    if not column.is_ragged:
        return np.array([default if v is None else v for v in values], dtype)
    width = max(1, *(len(v or ()) for v in values)) if values else 1
    padded = np.full((len(values), width), b"" if dtype is object else 0, dtype)
    for row, each in zip(padded, values, strict=True):
        each = each or ()
        row[: len(each)] = each
    return padded


def load_titles(root: Path, manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Title and category, '' where there is none, by video id."""
    titles: dict[str, tuple[str, str]] = {}
    for file in manifest.part("catalog"):
        schema = pq.read_schema(root / file.name)
        columns = [n for n in ("video_id", "title", "category") if n in schema.names]
        for row in pq.read_table(root / file.name, columns=columns).to_pylist():
            titles[row["video_id"]] = (row.get("title") or "", row.get("category") or "")
    return titles


def compare_datasets(
    root: Path, manifest: Manifest, made_of: Mapping[str, str] | None
) -> str | None:
    """Whether a dataset is the one that a model was made of.

    Args:
        root: the dataset's directory.
        manifest: its manifest.
        made_of: fingerprints of the model's dataset, by name; None if the model does not say.

    Returns:
        One line to warn with where it may be another; None where it is the same.

    Raises:
        UserError: its features are other ones, so the model would misread them.
    """
    if made_of is None:
        return (
            f"--dataset={root}: the model does not say which dataset it was made of, as those of"
            " serving.export do: this may be another"
        )
    for name, expected in made_of.items():
        found = getattr(manifest, name)
        if found == expected:
            continue
        line = (
            f"--dataset={root}: found {name} {found[:_SHOWN]}, the model was made of a dataset"
            f" with {expected[:_SHOWN]}"
        )
        if name == "spec_fingerprint":
            raise UserError(f"{line}: other features")
        return f"{line}: states and titles are not those that it was trained on"
    return None
