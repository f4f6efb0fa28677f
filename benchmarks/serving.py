"""What the server adds to the call into TensorFlow: latency, CPU time, and the tail under load.

    python -m benchmarks.serving --model=MODELS/retrieval --output=serving.json

The server is a process of its own, `serving.server` as it comes; in-process is the signature's
compiled call on decoded inputs, in this process. Requests are the version's own warm-up requests of
one made-up user each. Every round measures everything once; a figure is the median of the rounds,
and a ratio is taken within its round, in which a lone client and the call in process take turns.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags
from rich.table import Table

from benchmarks.served import (
    NAME,
    PREDICT,
    Inputs,
    latencies_ms,
    newest_version,
    server,
    stored_requests,
)
from configs.cli import console, run_app
from configs.files import write_json

if TYPE_CHECKING:
    from serving.saved_model import SavedModel

_MODEL = flags.DEFINE_string("model", None, "Base path of a model.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the rounds and their medians.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which the median is taken.", lower_bound=5)
_REQUESTS = flags.DEFINE_integer("requests", 1000, "Requests of a measurement.", lower_bound=100)
_CLIENTS = flags.DEFINE_integer("clients", 8, "Concurrent clients.", lower_bound=2)
_SERVER_FLAGS = flags.DEFINE_multi_string("server_flag", [], "Passed on to serving.server.")

_TURN = 250  # requests of the call in process, and then of a lone client
_LOAD = 0.7  # Of what the server can do, for the tail.

# What the table calls each figure, and where it should be.
_ROWS = {
    "p50_over_in_process": ("1 client: p50 over the in-process call's", "≤ 2.0"),
    "per_cpu_second": ("8 clients: requests per CPU-second over in-process", "≥ 0.6"),
    "p99_over_p50": ("p99 over p50 at 70 % of saturation", "≤ 3"),
    "p99_ms": ("1 client: p99, ms", "≤ 10"),
}


def main(argv: list[str]) -> dict[str, Any]:
    """Measures, prints a table, writes the rounds."""
    del argv
    from serving.client import Client

    base_path = Path(_MODEL.value)
    directory = newest_version(base_path)
    # Before requests are read: whoever uses TensorFlow first decides of the process' threads.
    model = _loaded(directory)
    asked = stored_requests(directory)
    requests = [message for message, _ in asked]
    call = _in_process(model, [inputs for _, inputs in asked])
    out = console()
    rounds = []
    with (
        server(base_path, _SERVER_FLAGS.value) as (process, port),
        Client(f"127.0.0.1:{port}", NAME, timeout_s=60.0).channel as channel,
    ):
        ask = channel.unary_unary(PREDICT)
        for i in range(_ROUNDS.value + 1):
            measured = _round(requests, call, ask, process)
            if i:  # The first warms up.
                rounds.append(measured)
                out.print(f"round {i} of {_ROUNDS.value}", highlight=False)
    medians = {name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}
    table = Table(title=f"{directory}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for header in ("what", "bound", "found", "least–most"):
        table.add_column(header)
    for name, (what, bound) in _ROWS.items():
        values = [r[name] for r in rounds]
        table.add_row(what, bound, f"{medians[name]}", f"{min(values):.2f}–{max(values):.2f}")
    out.print(table)
    result = {"requests": _REQUESTS.value, "server_flags": _SERVER_FLAGS.value, "medians": medians}
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result | {"rounds": rounds})
    return result


def _loaded(directory: Path) -> "SavedModel":
    """As the server loads it: the fastest for one request, too."""
    from serving.options import ServerOptions
    from serving.saved_model import SavedModel
    from serving.warmup import warm_up

    options = ServerOptions(model_base_path=directory.parent, model_name=NAME)
    model = SavedModel(directory, intra_op_threads=options.tensorflow_intra_op_parallelism)
    warm_up(model, directory)
    return model


def _in_process(model: "SavedModel", inputs: Sequence[Inputs]) -> Callable[[int], Any]:
    """What answers the i-th request in this process."""
    signature = model.signatures["serving_default"]
    arrays = [[one[name] for name in signature.input_names] for one in inputs]
    return lambda i: signature.run(*arrays[i % len(arrays)])


def _round(
    requests: list[bytes], call: Callable[[int], Any], ask: Callable[[bytes], bytes], process: int
) -> dict[str, float]:
    count, clients = _REQUESTS.value, _CLIENTS.value

    def over_grpc(i: int) -> None:
        ask(requests[i % len(requests)])

    # Each turn long enough that what it finds in the caches is its own.
    turns = [range(first, min(first + _TURN, count)) for first in range(0, count, _TURN)]
    inside_cpu_s, by_turn = 0.0, []
    for turn in turns:
        begin = time.process_time()
        inside = latencies_ms(call, turn)
        inside_cpu_s += time.process_time() - begin
        by_turn.append((inside, latencies_ms(over_grpc, turn)))
    inside, alone = map(np.concatenate, zip(*by_turn, strict=True))
    inside_per_cpu_s = count / inside_cpu_s
    with futures.ThreadPoolExecutor(clients) as pool:
        cpu_s, begin = _cpu_s(process), time.perf_counter()
        list(pool.map(over_grpc, range(count)))
        rate = count / (time.perf_counter() - begin)
        per_cpu_s = count / (_cpu_s(process) - cpu_s)
        # Each client asks at its own times, whether or not the others are done.
        pause = clients / (_LOAD * rate)
        paced = list(
            pool.map(lambda c: _paced(over_grpc, count // clients, pause, c), range(clients))
        )
    under_load = np.concatenate(paced)
    return {
        "in_process_p50_ms": float(np.median(inside)),
        "p50_ms": float(np.median(alone)),
        "p99_ms": float(np.percentile(alone, 99)),
        "p50_over_in_process": float(np.median(alone) / np.median(inside)),
        "saturation_qps": rate,
        "per_cpu_second": per_cpu_s / inside_per_cpu_s,
        "p99_over_p50": float(np.percentile(under_load, 99) / np.median(under_load)),
    }


def _paced(ask: Callable[[int], Any], count: int, pause_s: float, client: int) -> np.ndarray:
    """Latencies from the time that each request was due: who falls behind has waited, too."""
    due = time.perf_counter() + pause_s * client / _CLIENTS.value
    times = []
    for i in range(count):
        time.sleep(max(0.0, due - time.perf_counter()))
        ask(i)
        times.append(1e3 * (time.perf_counter() - due))
        due += pause_s
    return np.array(times)


def _cpu_s(process: int) -> float:
    """CPU seconds, user and system, that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    run_app(main)
