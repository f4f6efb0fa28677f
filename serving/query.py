"""`python -m serving.query`: asks a running model what to show a user, and shows it."""

import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from absl import flags
from rich.table import Table

from configs.cli import console, run_app
from configs.errors import UserError
from preprocessing import manifest as manifests
from preprocessing.features import FeatureSpec
from serving.requests import (
    UserStates,
    build_request,
    compare_datasets,
    load_state,
    load_states,
    load_titles,
    longest_history,
    spec_of_dataset,
)
from serving.tls import client_credentials

_SERVER = flags.DEFINE_string("server", "localhost:8500", "Host and port of the gRPC server.")
_MODEL_NAME = flags.DEFINE_string("model_name", "retrieval", "Name that the model is served by.")
_DATASET = flags.DEFINE_string("dataset", None, "What preprocessing.run wrote.", required=True)
_USER_ID = flags.DEFINE_string(
    "user_id", None, "The user to ask for; without it, one with a long history."
)
_K = flags.DEFINE_integer("k", 10, "How many recommendations to show.", lower_bound=1)
_TIMESTAMP = flags.DEFINE_integer(
    "timestamp",
    None,
    "Time of the request, UTC seconds; the dataset's end without it.",
    lower_bound=0,
    upper_bound=2**63 - 1,  # The request's is an int64.
)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 10.0, "How long to wait for the answer.")
_TLS = (
    flags.DEFINE_string(
        "ca_certificate", None, "PEM of the authority of the server's certificate; none: no TLS."
    ),
    flags.DEFINE_string(
        "client_certificate", None, "PEM to show to a server that asks for one (mutual TLS)."
    ),
    flags.DEFINE_string("client_key", None, "PEM of its private key."),
)
_SAMPLE = 1_000
_TITLE_WIDTH = 32


def main(argv: list[str]) -> dict[str, Any]:
    """Asks, prints a table, and returns the list."""
    del argv
    timeout_s = _TIMEOUT_S.value
    if not 0 < timeout_s < math.inf:
        raise UserError(f"--timeout_s: found {timeout_s}, expected a time in seconds, above 0")
    files = {flag.name: Path(flag.value) if flag.value else None for flag in _TLS}
    credentials = client_credentials(**files)
    root = Path(_DATASET.value)
    manifest = manifests.read(root)
    spec = spec_of_dataset(manifest)
    user_id = _USER_ID.value
    if user_id is None:
        user_id = longest_history(load_states(root, manifest, spec, sample=_SAMPLE), spec)
    states = load_state(root, manifest, spec, user_id)
    request = build_request(spec, states, timestamp=_TIMESTAMP.value)

    from serving.client import Client  # Only now: TensorFlow, which its stubs need, takes seconds.

    client = Client(_SERVER.value, _MODEL_NAME.value, timeout_s=timeout_s, credentials=credentials)
    note = compare_datasets(root, manifest, client.fingerprints())
    client.predict(request)  # the first call is slower than those after it
    begin = time.perf_counter()
    outputs, version = client.predict(request)
    elapsed_ms = 1e3 * (time.perf_counter() - begin)

    items = [v.decode() for v in outputs["item_id"][0][: _K.value] if v]
    scores = outputs["score"][0][: len(items)].tolist()
    titles = load_titles(root, manifest)
    console().print(table_of(spec, states, items, scores, titles, elapsed_ms))
    if note:
        print(f"warning: {note}", file=sys.stderr)
    return {
        "user_id": user_id,
        "version": version,
        "item_id": items,
        "score": [round(score, 4) for score in scores],
        "round_trip_ms": round(elapsed_ms, 2),
    }


def table_of(
    spec: FeatureSpec,
    states: UserStates,
    items: Sequence[str],
    scores: Sequence[float],
    titles: dict[str, tuple[str, str]],
    elapsed_ms: float,
) -> Table:
    """What the user watched lately, newest first, beside what is recommended."""
    name, _ = spec.sequence
    watched = list(
        zip(
            states.columns[f"{name}_item_id"][0] or (),
            states.columns[f"{name}_timestamp"][0] or (),
            strict=True,
        )
    )[::-1]
    table = Table(
        title=f"user {states.user_id[0]}: {len(items)} recommendations in {elapsed_ms:.1f} ms"
    )
    for header in ("watched", "title", "category", "", "recommended", "title", "category"):
        width = _TITLE_WIDTH if header == "title" else None
        table.add_column(header, no_wrap=True, max_width=width)
    table.add_column("score", justify="right")
    for row in range(max(len(items), min(len(watched), len(items)))):
        left = ["", "", ""]
        if row < len(watched):
            item, at = watched[row]
            when = datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")
            left = [when, *titles.get(item, (item, ""))]
        right = [items[row], *titles.get(items[row], ("", "")), f"{scores[row]:.2f}"]
        table.add_row(*left, "", *right)
    return table


if __name__ == "__main__":
    run_app(main)
