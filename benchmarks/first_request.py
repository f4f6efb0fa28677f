"""What the first request to a version that was just loaded pays.

    python -m benchmarks.first_request --model=MODELS/retrieval --output=first.json

`serving.server` as it comes, in a process of its own, is given the same version again and again
under new numbers, once with a client that is silent meanwhile and once with one that asks without
a pause. The silent one asks first once the version serves, and then again after equal pauses; of
the busy one's requests, the first that the version answers is held against the next so many. Each
ratio is taken within its version; a figure is the median over the versions.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from rich.table import Table

from benchmarks.served import NAME, PREDICT, latencies_ms, newest_version, server, stored_requests
from configs.cli import console, run_app
from configs.files import write_json

_MODEL = flags.DEFINE_string("model", None, "Base path of a model.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the versions and their medians.")
_VERSIONS = flags.DEFINE_integer("versions", 9, "That are loaded.", lower_bound=5)

_PAUSE_S = 0.05
_PAUSED, _UNPAUSED = 20, 200  # Requests.
_ROWS = {
    "first_over_paused": "silent client: first request over the median after equal pauses",
    "first_over_unpaused": "busy client: first request over the median of the next",
    "paused_ms": f"silent client: median after pauses of {1e3 * _PAUSE_S:.0f} ms, ms",
    "unpaused_ms": "busy client: median, ms",
}


def main(argv: list[str]) -> dict[str, Any]:
    """Measures, prints a table, writes every version's figures."""
    del argv
    from serving.client import Client

    directory = newest_version(Path(_MODEL.value)).resolve()
    requests = [message for message, _ in stored_requests(directory)]
    found = []
    with tempfile.TemporaryDirectory() as root:
        base = Path(root, NAME)
        base.mkdir()

        def add(version: int) -> None:
            (base / str(version)).symlink_to(directory)

        add(1)
        with (
            server(base) as (_, port),
            Client(f"127.0.0.1:{port}", NAME, timeout_s=60.0).channel as channel,
        ):
            predict = channel.unary_unary(PREDICT)

            def ask(i: int) -> bytes:
                return predict(requests[i % len(requests)])

            for number in range(1, 2 * _VERSIONS.value, 2):
                if number > 1:
                    add(number)
                _wait_until_it_serves(channel, number)
                measured = _of_silent_client(ask)
                add(number + 1)
                found.append(measured | _of_busy_client(ask, number + 1))
    medians = {name: round(statistics.median(f[name] for f in found), 3) for name in _ROWS}
    table = Table(title=f"{directory}, loaded {2 * len(found)} times")
    for header in ("what", "found", "least–most"):
        table.add_column(header)
    for name, what in _ROWS.items():
        values = [f[name] for f in found]
        table.add_row(what, f"{medians[name]}", f"{min(values):.2f}–{max(values):.2f}")
    console().print(table)
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), {"medians": medians, "versions": found})
    return {"medians": medians}


def _wait_until_it_serves(channel: Any, version: int) -> None:
    """Returns once the version serves and those before it have ended."""
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = NAME
    expected = {str(version): "AVAILABLE"} | {str(v): "END" for v in range(1, version)}
    states: dict[str, str] = {}
    while states != expected:
        time.sleep(_PAUSE_S)
        response = stub.GetModelStatus(request, timeout=60.0)
        states = {
            str(each.version): get_model_status_pb2.ModelVersionStatus.State.Name(each.state)
            for each in response.model_version_status
        }


def _of_silent_client(ask: Callable[[int], bytes]) -> dict[str, float]:
    times = []
    for i in range(1 + _PAUSED):
        time.sleep(_PAUSE_S)
        times += latencies_ms(ask, range(i, i + 1)).tolist()
    first, *later = times
    paused = statistics.median(later)
    return {"paused_ms": paused, "first_over_paused": first / paused}


def _of_busy_client(ask: Callable[[int], bytes], version: int) -> dict[str, float]:
    """Asks without a pause until the version has answered so many times."""
    from tensorflow_serving.apis import predict_pb2

    times: list[float] = []
    for i in itertools.count():
        begin = time.perf_counter()
        answer = ask(i)
        elapsed_ms = 1e3 * (time.perf_counter() - begin)
        if (
            times
            or predict_pb2.PredictResponse.FromString(answer).model_spec.version.value == version
        ):
            times.append(elapsed_ms)
        if len(times) > _UNPAUSED:
            break
    unpaused = statistics.median(times[1:])
    return {"unpaused_ms": unpaused, "first_over_unpaused": times[0] / unpaused}


if __name__ == "__main__":
    run_app(main)
