"""Every command of the packages: says what it is for, and at once."""

import ast
from pathlib import Path

import pytest

from tests.commands import ROOT, run_python

_PACKAGES = ("preprocessing", "trainer", "serving")
# The gate starts the one; the other's flag is an enum of the module that does the work.
_SLOW_TO_START = {"serving.replay", "serving.embed"}


def _is_command(path: Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


_COMMANDS = sorted(
    path for package in _PACKAGES for path in (ROOT / package).glob("*.py") if _is_command(path)
)


@pytest.mark.parametrize("path", _COMMANDS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_help_tells_the_purpose_and_waits_for_no_framework(path: Path) -> None:
    module = f"{path.parent.name}.{path.stem}"
    asked = run_python("-X", "importtime", "-m", module, "--help")
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert purpose is not None
    assert purpose.splitlines()[0] in asked.stdout
    imported = {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
    assert "absl.flags" in imported
    frameworks = imported & {"tensorflow", "apache_beam"}
    assert not frameworks or module in _SLOW_TO_START
