"""What the gate found of a version, and whether it may be visible."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.errors import UserError
from serving.publishing import REFUSAL_REPORT
from serving.quality import POPULARITY, Quality

_REPLAY_TIMEOUT_S = 600
# Of a mean recall over some hundred users, about three standard errors.
_SAMPLING_ERROR = 0.007
LIVE, CANDIDATE = "live", "candidate"


@dataclass(slots=True, kw_only=True)
class Verdict:
    """Collects what was checked and what is wrong.

    Attributes:
        checks: findings by check, as the report shows them.
        problems: one line for each reason to refuse.
    """

    checks: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def recall(self, found: float, *, target: float, k: int) -> None:
        """Recall of the saved graph against exact search; the index was tuned on other users."""
        self.checks["recall"] = {"found": round(found, 4), "target": target, "k": k}
        if found < target - _SAMPLING_ERROR:
            self.problems.append(f"recall@{k}: found {found:.4f}, expected {target}")

    def replay(self, place: Path, *, max_latency_ms: float, with_scann: bool = True) -> None:
        """Golden responses, list contract, finite scores and latency, in a fresh process."""
        found = run_replay(place, with_scann=with_scann)
        name = "replay" if with_scann else "replay without scann"
        self.checks[name] = found
        self.problems += found["problems"]
        if found.get("p50_ms", 0.0) > max_latency_ms:
            self.problems.append(
                f"latency: found a median of {found['p50_ms']} ms for one request, expected at "
                f"most {max_latency_ms} (config.export.max_latency_ms)"
            )

    def quality(self, found: Quality, *, margin: float) -> None:
        """No worse than popularity, nor than the live version by more than a margin."""
        recall = {name: round(value, 4) for name, value in found.recall.items()}
        self.checks["quality"] = {
            "queries": found.queries,
            "part": found.part,
            "k": found.k,
            "items": found.items,
            "recall": recall,
        }
        if CANDIDATE not in recall:
            return
        ours, popularity = recall[CANDIDATE], recall[POPULARITY]
        if ours < popularity:
            self.problems.append(
                f"quality: found Recall@{found.k} {ours}, expected at least popularity's "
                f"{popularity} on {found.part}"
            )
        if LIVE in recall and ours < (1 - margin) * recall[LIVE]:
            self.problems.append(
                f"quality: found Recall@{found.k} {ours}, expected at least {1 - margin:.2f} of "
                f"the live version's {recall[LIVE]} on {found.part}"
            )

    def show(self, console: Console) -> None:
        """Prints what was checked, one line for each, and below why it is refused, if it is."""
        table = Table(title="gate")
        for header in ("check", "found", "expected"):
            table.add_column(header)
        for name, found in self.checks.items():
            for row in _rows_of(name, found):
                table.add_row(*row)
        console.print(table)
        for problem in self.problems:
            console.print(f"refused: {problem}", markup=False, highlight=False)

    def report(self) -> dict[str, Any]:
        """For the version: what was checked, and why it is refused, if it is."""
        return {"checks": self.checks, "problems": self.problems, "forced": False}


def _rows_of(name: str, found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """A check's findings as rows of check, found and expected."""
    if name == "recall":
        yield (
            f"recall@{found['k']} of the index",
            f"{found['found']}",
            f"at least {found['target']}",
        )
    elif name == "quality":
        recall = found["recall"]
        what = f"Recall@{found['k']} of the towers"
        if CANDIDATE not in recall:
            yield what, "not compared: the dataset has no query to ask", ""
            return
        others = ", ".join(f"{n} {v}" for n, v in recall.items() if n != CANDIDATE)
        yield f"{what}, {found['queries']} of {found['part']}", f"{recall[CANDIDATE]}", others
    elif name == LIVE:
        if problem := found["not_compared"]:
            yield f"live version {found['version']}", f"not compared: {problem}", ""
    else:
        problems = len(found["problems"])
        yield (
            f"{name}: golden requests",
            f"{problems} problems in {found.get('records', 0)}",
            "none",
        )
        if "p50_ms" in found:
            yield f"{name}: one request, ms", f"p50 {found['p50_ms']}, p99 {found['p99_ms']}", ""


def run_replay(place: Path, *, with_scann: bool) -> dict[str, Any]:
    """Runs `serving.replay` on a version directory in a process of its own.

    Returns:
        Its result; if it fails, `problems` says why.
    """
    command = [sys.executable, "-m", "serving.replay", f"--model={place}", "--json"]
    command += [] if with_scann else ["--noscann"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_REPLAY_TIMEOUT_S)
    if done.returncode != 0:
        why = [line for line in done.stderr.splitlines() if line.strip()]
        return {"problems": [f"replay: {why[-1] if why else f'exit code {done.returncode}'}"]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def refusal(problems: Sequence[str], aside: Path) -> UserError:
    """What a refused export ends with."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UserError(
        f"the gate refused the version: {problems[0]}{more}; it is kept in {aside} with "
        f"{REFUSAL_REPORT}; --force publishes it all the same, serving.publish --force what is kept"
    )
