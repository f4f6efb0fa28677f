"""Commands run as a user runs them, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, timeout_s: float = 550) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` in the repository to its end."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
    )


def run_command(module: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE FLAGS` to its end."""
    return run_python("-m", module, *flags)


def result_of(module: str, *flags: str) -> tuple[dict[str, Any], str]:
    """Of a command that must end well: the JSON of its last line, and all of its output."""
    done = run_command(module, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def said_by(code: str, *arguments: str, timeout_s: float = 550) -> list[str]:
    """The lines of a program that must end well."""
    done = run_python("-c", code, *arguments, timeout_s=timeout_s)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
