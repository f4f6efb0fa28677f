"""How every StreamRec command starts, reports and ends."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from absl import app, flags, logging
from rich.console import Console

from configs.errors import UserError

_WIDTH_OF_FILES = 140

_JSON = flags.DEFINE_bool("json", False, "Print nothing but the final JSON line.")


def console() -> Console:
    """The console for tables and progress; silent under `--json`."""
    quiet = bool(_JSON.value)
    # A file or pipe has no width of its own; a table cut to 80 columns would lose its figures.
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a command's result, one JSON object, as the last line of stdout."""
    print(json.dumps(result, sort_keys=False, allow_nan=False), flush=True)


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return 1


def run_app(main: Callable[[list[str]], Mapping[str, Any] | None]) -> None:
    """Parses flags, runs `main`, prints its result; a user's mistake is one line and exit code 1.

    Args:
        main: gets the arguments that are no flags, program name first; what it returns, if
            anything, is printed by `print_result`.
    """

    def guarded(argv: list[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        try:
            result = main(argv)
        except UserError as error:
            return _fail(str(error))
        if result is not None:
            print_result(result)
        return 0

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except (flags.Error, UserError, ValueError, TypeError, AttributeError, KeyError) as error:
            sys.exit(_fail(str(error)))
        except OSError as error:
            sys.exit(_fail(f"--config: {error}"))

    app.run(guarded, flags_parser=parse)
