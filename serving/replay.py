"""`python -m serving.replay`: a version in a process of its own, asked what it was asked before.

The gate runs it before a version is visible; it can be run on any version directory.
"""

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from configs.cli import run_app
from configs.errors import UserError
from serving.signatures import EXCLUDE_ITEM_ID, ITEM_ID

_MODEL = flags.DEFINE_string("model", None, "A version directory.", required=True)
_SCANN = flags.DEFINE_bool("scann", True, "False: ScaNN cannot be imported, as for a twin.")

_TIMED_CALLS = 200
# Another process may sum in another order; scores of dot products over 0.05 differ by less.
_TOLERANCE = 1e-3
_LOWEST = np.finfo(np.float32).min

Inputs = Mapping[str, np.ndarray]


def replay(directory: Path) -> dict[str, Any]:
    """Loads a version and asks it its golden requests.

    Returns:
        JSON: `records`, `problems` (one line each, none if all is well), and `p50_ms` and `p99_ms`
        of a single made-up request.

    Raises:
        UserError: the directory cannot be loaded or has no golden responses.
    """
    from serving.golden import GOLDEN_FILE, read_golden
    from serving.saved_model import SavedModel
    from serving.versions import LoadError

    if not (directory / GOLDEN_FILE).exists():
        raise UserError(f"--model={directory}: found no {GOLDEN_FILE}, expected a version of ours")
    try:
        model = SavedModel(directory)
    except LoadError as error:
        raise UserError(f"--model={directory}: cannot be loaded: {error}") from None
    problems: list[str] = []
    records = 0
    single: tuple[Any, list[np.ndarray]] | None = None
    for name, inputs, expected in read_golden(directory):
        records += 1
        signature = model.signatures.get(name)
        if signature is None:
            problems.append(f"{name}: the loaded copy has no such signature")
            continue
        outputs = signature.answer(inputs)
        where = f"golden request {records} of {name}"
        problems += [f"{where}: {p}" for p in differences(outputs, expected)]
        if ITEM_ID in outputs:
            problems += [f"{where}: {p}" for p in broken_clauses(inputs, outputs)]
        if name == "serving_default" and single is None:
            single = signature, [inputs[n] for n in signature.input_names]
    result: dict[str, Any] = {"records": records, "problems": problems}
    if single is not None:
        result |= _latency(*single)
    return result


def differences(found: Inputs, expected: Inputs) -> list[str]:
    """Where two answers differ by more than rounding; items of equal scores may swap places."""
    if set(found) != set(expected):
        return [f"found outputs {sorted(found)}, expected {sorted(expected)}"]
    lines = []
    for name in sorted(found):
        one, other = found[name], expected[name]
        if one.shape != other.shape:
            lines.append(f"{name}: found shape {one.shape}, expected {other.shape}")
        elif one.dtype != object and not np.allclose(one, other, rtol=1e-4, atol=_TOLERANCE):
            lines.append(f"{name}: found values up to {np.abs(one - other).max()} off")
    if not lines and ITEM_ID in found:
        scores = expected["score"]
        # A place is settled where both neighbours' scores are further away than rounding.
        gaps = np.abs(np.diff(scores, axis=1, prepend=np.inf, append=scores[:, -1:]))
        settled = (gaps[:, :-1] > 2 * _TOLERANCE) & (gaps[:, 1:] > 2 * _TOLERANCE)
        swapped = settled & (found[ITEM_ID] != expected[ITEM_ID])
        if swapped.any():
            lines.append(f"item_id: found {np.count_nonzero(swapped)} other items than before")
    return lines


def broken_clauses(inputs: Inputs, outputs: Inputs) -> list[str]:
    """Clauses of the list contract that an answer breaks."""
    ids, scores = outputs[ITEM_ID], outputs["score"]
    lines = []
    if not np.isfinite(scores).all():
        lines.append("scores are not finite")
    if (np.diff(scores, axis=1) > 0).any():
        lines.append("scores do not descend")
    if ((ids == b"") != (scores == _LOWEST)).any():
        lines.append("'' and the lowest float do not go together")
    for row, items in enumerate(ids):
        real = items[items != b""]
        if len(set(real)) < len(real):
            lines.append(f"row {row} repeats an item")
        if EXCLUDE_ITEM_ID in inputs and not set(real).isdisjoint(inputs[EXCLUDE_ITEM_ID][row]):
            lines.append(f"row {row} holds an excluded item")
        if ITEM_ID in inputs and inputs[ITEM_ID][row] in real:
            lines.append(f"row {row} holds the item that was asked for")
    return lines


def _latency(signature: Any, arrays: list[np.ndarray]) -> dict[str, float]:
    """Median and 99th percentile of one request, in milliseconds."""
    times = []
    for _ in range(_TIMED_CALLS + 10):
        begin = time.perf_counter()
        signature.run(*arrays)
        times.append(1e3 * (time.perf_counter() - begin))
    ordered = sorted(times[10:])
    p99 = ordered[int(0.99 * len(ordered)) - 1]
    return {"p50_ms": round(statistics.median(ordered), 3), "p99_ms": round(p99, 3)}


def main(argv: list[str]) -> dict[str, Any]:
    """Replays and returns what was found."""
    del argv
    if not _SCANN.value:
        sys.modules["scann"] = None  # type: ignore[assignment]
    return replay(Path(_MODEL.value))


if __name__ == "__main__":
    run_app(main)
