"""How fast is the preprocessing job, beside what else one would write?

python -m benchmarks.preprocessing [--events=10000000] [--repeats=5] [--only=records] --workdir=DIR

Simulates a log once, then measures in turn, so that a noisy moment meets all alike:

- the job against a Polars script that computes the same train rows and feeds the same encoder;
- the job against an element-wise Beam job of the same rows, which gets a share of the users
  (`--elementwise_events`), since it would take hours on all;
- the job on a tenth of the users, for how time grows, and its peak memory;
- the packed writer against a loop of tf.train.Example, and reading back what both wrote, as lists
  and padded as training takes it: rows of the default config.

First all three are run on a hundredth of the log, and their rows compared. Figures are medians.
`--only=jobs` and `--only=records` measure the first three or the last alone. The records' rows
come from a tenth of the log: 2 M events are enough for all 20,000 of them.
"""

import enum
import os
import platform
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.preprocessing import contestants, setting
from benchmarks.preprocessing.contestants import Contestant, Measured
from configs import default
from configs.cli import console, run_app
from configs.errors import UserError
from configs.files import write_json
from preprocessing.features import spec_of
from preprocessing.simulate import tables_in

_GIB = 2**30
_ROWS_TO_WRITE = 20_000


class Part(enum.Enum):
    """What is measured."""

    ALL = "all"
    JOBS = "jobs"
    RECORDS = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A bound, and what was found."""

    name: str
    found: float
    least: float | None = None
    most: float | None = None
    aim: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return (self.least is None or self.found >= self.least) and (
            self.most is None or self.found <= self.most
        )


def require_equal_rows(log: Path, workdir: Path, display: Console) -> int:
    """Runs all on a small log and compares their rows; returns how many there are.

    Raises:
        AssertionError: rows differ.
    """
    from polars.testing import assert_frame_equal

    from benchmarks.preprocessing.decode import decode

    columns = spec_of(setting.config()).train_columns
    found = {}
    for contestant, files in (
        (Contestant.JOB, "data-*/train/*.tfrecord"),
        (Contestant.POLARS, "*.tfrecord"),
        (Contestant.BEAM, "rows-*"),
    ):
        output = workdir / "equal" / contestant.value
        display.print(f"rows of a small log: {contestant.value}")
        contestants.run(contestant, log, output)
        found[contestant] = decode(sorted(output.glob(files)), columns)
    for contestant in (Contestant.POLARS, Contestant.BEAM):
        assert_frame_equal(found[contestant], found[Contestant.JOB])
    return len(found[Contestant.JOB])


def in_turn(
    measures: dict[str, Callable[[], Any]], *, repeats: int, display: Console
) -> dict[str, list[Any]]:
    """What each returned, round by round."""
    found: dict[str, list[Any]] = {name: [] for name in measures}
    for number in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
            display.print(f"round {number + 1} of {repeats}: {name}: {found[name][-1]}")
    return found


def measure_jobs(
    logs: dict[str, Path], workdir: Path, *, repeats: int, display: Console
) -> dict[str, list[Measured]]:
    """Each contestant on its log, in turn."""

    def runs(contestant: Contestant, log: Path) -> Callable[[], Measured]:
        return lambda: contestants.run(contestant, log, workdir / "output")

    return in_turn(
        {
            "polars": runs(Contestant.POLARS, logs["whole"]),
            "job": runs(Contestant.JOB, logs["whole"]),
            "job, a tenth": runs(Contestant.JOB, logs["tenth"]),
            "job, a tenth, two workers": runs(Contestant.JOB_TWO, logs["tenth"]),
            "element-wise Beam": runs(Contestant.BEAM, logs["elementwise"]),
        },
        repeats=repeats,
        display=display,
    )


def measure_records(
    log: Path, workdir: Path, *, repeats: int, display: Console
) -> tuple[int, dict[str, list[float]]]:
    """Writers and readers, in turn, over rows of the default config; how many, and seconds."""
    from benchmarks.preprocessing.decode import decode
    from benchmarks.preprocessing.records import HISTORY_COLUMNS, RecordsBenchmark
    from preprocessing.job import preprocess

    spec = spec_of(default.get_config())
    dataset = workdir / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    preprocess(default.get_config(), tables=tables_in(log), output=dataset, display=display)
    files = sorted(dataset.glob("data-*/train/*.tfrecord"))
    rows = decode(files, spec.train_columns).head(_ROWS_TO_WRITE)
    records = RecordsBenchmark(rows, spec, workdir)
    found = in_turn(
        {
            "write packed": records.write_packed,
            "write one row each": records.write_one_row,
            "read packed": lambda: records.read_packed(dense=False),
            "read one row each": lambda: records.read_one_row(dense=False),
            "read packed, padded": lambda: records.read_packed(dense=True),
            "read one row each, padded": lambda: records.read_one_row(dense=True),
            "read packed, 11 columns": lambda: records.read_packed(
                dense=False, only=HISTORY_COLUMNS
            ),
            "read one row each, 11 columns": lambda: records.read_one_row(
                dense=False, only=HISTORY_COLUMNS
            ),
        },
        repeats=repeats,
        display=display,
    )
    if not records.same():
        raise AssertionError("packed and one-row Examples hold other rows")
    return len(rows), found


def claims_of_jobs(jobs: dict[str, list[Measured]], events: dict[str, int]) -> list[Claim]:
    """The figures that the job is held to."""

    def rate(name: str, log: str) -> float:
        return events[log] / statistics.median(one.seconds for one in jobs[name])

    peak = statistics.median(one.peak_bytes for one in jobs["job"])
    growth = rate("job", "whole") / rate("job, a tenth", "tenth")
    return [
        Claim(
            name="job / Polars script",
            found=rate("job", "whole") / rate("polars", "whole"),
            least=0.33,
            aim=0.6,
        ),
        Claim(
            name="job / element-wise Beam",
            found=rate("job", "whole") / rate("element-wise Beam", "elementwise"),
            least=10,
            aim=20,
        ),
        Claim(name="peak memory, GiB", found=peak / _GIB, most=6),
        Claim(name="events/s, whole log / a tenth", found=growth, least=1),
    ]


def claims_of_records(records: dict[str, list[float]]) -> list[Claim]:
    """The figures that writing and reading are held to."""

    def median(name: str) -> float:
        return statistics.median(records[name])

    return [
        Claim(
            name="write packed / one row each",
            found=median("write one row each") / median("write packed"),
            least=5,
            aim=10,
        ),
        *(
            Claim(
                name=f"read packed / one row each{how}",
                found=median(f"read one row each{how}") / median(f"read packed{how}"),
                least=4,
                aim=8,
            )
            for how in ("", ", 11 columns", ", padded")
        ),
    ]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / _GIB, 1),
        "python": platform.python_version(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def show(
    jobs: dict[str, list[Measured]],
    records: dict[str, list[float]],
    events: dict[str, int],
    claims: list[Claim],
    display: Console,
    *,
    rows: int,
) -> None:
    """Draws the tables."""
    log_of = {"element-wise Beam": "elementwise"}
    log_of |= {name: "tenth" for name in jobs if "a tenth" in name}
    table = Table("contestant", "events", "s, median", "least", "most", "CPU s", "events/s", "GiB")
    for name, runs in jobs.items():
        number = events[log_of.get(name, "whole")]
        seconds = [one.seconds for one in runs]
        table.add_row(
            name,
            f"{number:,}",
            f"{statistics.median(seconds):.1f}",
            f"{min(seconds):.1f}",
            f"{max(seconds):.1f}",
            f"{statistics.median(one.cpu_s for one in runs):.1f}",
            f"{number / statistics.median(seconds):,.0f}",
            f"{statistics.median(one.peak_bytes for one in runs) / _GIB:.2f}",
        )
    if jobs:
        display.print(table)
    table = Table("records", "rows/s, median", "least", "most")
    for name, times in records.items():
        rates = [rows / each for each in times]
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}",
            f"{max(rates):,.0f}",
        )
    if records:
        display.print(table)
    table = Table("claim", "found", "bound", "aim", "holds")
    for claim in claims:
        bound = f">= {claim.least:g}" if claim.least is not None else f"<= {claim.most:g}"
        table.add_row(
            claim.name,
            f"{claim.found:.2f}",
            bound,
            "" if claim.aim is None else f"{claim.aim:g}",
            str(claim.holds),
        )
    display.print(table)


def run(
    *,
    events: int,
    elementwise_events: int,
    repeats: int,
    workdir: Path,
    only: Part = Part.ALL,
) -> dict[str, Any]:
    """Measures, prints the tables, and returns what the command prints last."""
    for name, value, least in (
        ("events", events, 100_000),
        ("elementwise_events", elementwise_events, 1),
        ("repeats", repeats, 1),
    ):
        if value < least:
            raise UserError(f"--{name}: found {value}, expected at least {least}")
    display = console()
    whole = setting.simulate_once(workdir / f"log-{events}", events=events, display=display)

    def part(name: str, share: float) -> Path:
        return setting.share_of(whole, workdir / f"log-{events}-{name}", share=share)

    tenth = part("tenth", 0.1)
    result: dict[str, Any] = {"repeats": repeats, "machine": machine()}
    jobs: dict[str, list[Measured]] = {}
    records: dict[str, list[float]] = {}
    claims: list[Claim] = []
    counts: dict[str, int] = {}
    rows = 0
    if only is not Part.RECORDS:
        share = min(1.0, elementwise_events / events)
        logs = {
            "whole": whole,
            "tenth": tenth,
            "elementwise": part(f"elementwise-{elementwise_events}", share),
        }
        counts = {name: setting.events_in(tables_in(log)) for name, log in logs.items()}
        small = part("small", min(0.01, 20_000 / events))
        result["equal_rows"] = require_equal_rows(small, workdir, display)
        jobs = measure_jobs(logs, workdir, repeats=repeats, display=display)
        claims += claims_of_jobs(jobs, counts)
    if only is not Part.JOBS:
        rows, records = measure_records(
            tenth, workdir / "records", repeats=repeats, display=display
        )
        claims += claims_of_records(records)
    show(jobs, records, counts, claims, display, rows=rows)
    result |= {
        "events": counts,
        "rows": rows,
        "claims": {claim.name: round(claim.found, 3) for claim in claims},
        "claims_hold": all(claim.holds for claim in claims),
        "seconds": {n: [round(one.seconds, 2) for one in runs] for n, runs in jobs.items()},
        "cpu_s": {n: [round(one.cpu_s, 2) for one in runs] for n, runs in jobs.items()},
        "peak_bytes": {n: [one.peak_bytes for one in runs] for n, runs in jobs.items()},
        "record_seconds": {n: [round(t, 4) for t in times] for n, times in records.items()},
    }
    write_json(workdir / "preprocessing.json", result)
    return result


if __name__ == "__main__":
    _EVENTS = flags.DEFINE_integer("events", 10_000_000, "About so many events are simulated.")
    _ELEMENTWISE = flags.DEFINE_integer(
        "elementwise_events", 200_000, "About so many go to the element-wise job."
    )
    _REPEATS = flags.DEFINE_integer("repeats", 5, "Runs of each, in turn.")
    _ONLY = flags.DEFINE_enum_class("only", Part.ALL, Part, "Measure only this part.")
    _WORKDIR = flags.DEFINE_string("workdir", None, "Logs, datasets, result.", required=True)
    run_app(
        lambda argv: run(
            events=_EVENTS.value,
            elementwise_events=_ELEMENTWISE.value,
            repeats=_REPEATS.value,
            workdir=Path(_WORKDIR.value),
            only=_ONLY.value,
        )
    )
