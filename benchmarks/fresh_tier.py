"""What videos added between exports cost: seconds to publish them, and the latency of a request.

    python -m benchmarks.fresh_tier --model=MODELS/retrieval --workdir=RUN --add=10000

Works on a copy of the newest version. The added videos are those of the dataset's catalog under new
ids. Requests are stored users', one at a time, the two versions in turn; a figure is the median of
the rounds' medians.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from configs.cli import console, run_app
from configs.errors import UserError
from preprocessing.columns import TIMESTAMP
from serving.publishing import read_report, version_dir_of
from serving.quality import raw_items
from serving.requests import build_request, load_states
from serving.saved_model import SavedModel
from trainer.restore import restore_run

_MODEL = flags.DEFINE_string("model", None, "Base path of a model.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run it was exported from.", required=True)
_ADD = flags.DEFINE_integer("add", 10_000, "Videos to add.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of which the median is taken.", lower_bound=5)
_REQUESTS = 200


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints."""
    del argv
    out = console()
    live = version_dir_of(Path(_MODEL.value))
    _, dataset, _, _ = restore_run(Path(_WORKDIR.value))
    if not dataset.catalog.size > 1:
        raise UserError(f"--workdir: found an empty catalog in {dataset.root}, expected videos")
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory) / "model"
        shutil.copytree(live, base / "1")
        videos = Path(directory) / "videos.jsonl"
        raw = raw_items(dataset, dataset.manifest.splits.last_day)
        statistics_of_items = {c.name for c in dataset.spec.statistic_columns}
        names = [n for n in raw if n != TIMESTAMP and n not in statistics_of_items]
        with videos.open("w", encoding="utf-8") as file:
            for i in range(_ADD.value):
                row = {n: _plain(raw[n][1 + i % (dataset.catalog.size - 1)]) for n in names}
                row[dataset.spec.features["item_id"].column] = f"fresh-{i}"
                file.write(json.dumps(row) + "\n")
        begin = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "serving.update",
                f"--model={base}",
                f"--add={videos}",
                "--json",
            ],
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise UserError(done.stderr.strip().splitlines()[-1])
        out.print(f"updated in {seconds:.1f} s")
        states = load_states(dataset.root, dataset.manifest, dataset.spec, sample=_REQUESTS)
        request = build_request(dataset.spec, states)
        models = {name: SavedModel(base / name) for name in ("1", "2")}
        medians: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(_ROUNDS.value + 1):
            for name, model in models.items():
                signature = model.signatures["serving_default"]
                times = []
                for i in range(len(states.user_id)):
                    arrays = [request[n][i : i + 1] for n in signature.input_names]
                    begin = time.perf_counter()
                    signature.run(*arrays)
                    times.append(1e3 * (time.perf_counter() - begin))
                medians[name].append(statistics.median(times))
        before, after = (statistics.median(medians[name][1:]) for name in ("1", "2"))
    report = read_report(live)
    return {
        "items": report["index"]["num_items"],
        "index": report["index"]["kind"],
        "added": _ADD.value,
        "update_s": round(seconds, 1),
        "p50_ms": {"live": round(before, 3), "updated": round(after, 3)},
        "p50 over the live version's": round(after / before, 3),
    }


def _plain(value: Any) -> Any:
    """A value of a raw column as JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value if each != b""]
    return value.item()


if __name__ == "__main__":
    run_app(main)
