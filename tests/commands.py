"""Commands run as a user runs them, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_command(
    module: str, *flags: str, timeout_s: float = 550
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE FLAGS` in the repository to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def result_of(module: str, *flags: str) -> tuple[dict[str, Any], str]:
    """Of a command that must end well: the JSON of its last line, and all of its output."""
    done = run_command(module, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout
