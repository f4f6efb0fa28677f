"""Array types of the simulation, and records of arrays."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

Record = TypeVar("Record")


def concatenate(parts: Sequence[Record]) -> Record:
    """Joins dataclasses of arrays, at least one, field by field along the first axis."""
    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(parts[0])  # type: ignore[arg-type]
    }
    return type(parts[0])(**joined)


def take(record: Record, rows: Any) -> Record:
    """The given rows of every array of a dataclass."""
    taken: dict[str, Any] = {
        field.name: getattr(record, field.name)[rows]
        for field in dataclasses.fields(record)  # type: ignore[arg-type]
    }
    return type(record)(**taken)
