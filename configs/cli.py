"""How every StreamRec command starts, reports and ends."""

import enum
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import UnsupportedOperationError
from rich.console import Console

from configs.errors import EXIT_INTERRUPTED, Interrupted, UserError
from configs.overrides import problem_of
from configs.schema import Config

_WIDTH_OF_FILES = 140

_JSON = flags.DEFINE_bool("json", False, "Print nothing but the final JSON line.")


def console() -> Console:
    """The console for tables and progress; silent under `--json`.

    Text is shown as it is: a title or a path may hold what rich would read as markup or an emoji.
    """
    quiet = bool(_JSON.value)
    # A file or pipe has no width of its own; a table cut to 80 columns would lose its figures.
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(quiet=quiet, width=width, markup=False, emoji=False)


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a command's result, one JSON object, as the last line of stdout."""
    print(json.dumps(result, sort_keys=False, allow_nan=False), flush=True)


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return 1


def define_config() -> Callable[[], Config]:
    """Defines `--config`, a Python file with `get_config()`, and `--config.a.b=c` overrides.

    Returns:
        What gives the validated config once flags are parsed; it raises `UserError` where the
        file cannot be loaded or a value makes no sense.
    """
    # The default is filled in by `run_app`: given here, overrides would be applied at import,
    # where a typo in one would be a traceback.
    holder = config_flags.DEFINE_config_file("config", None, "The run: a config file.")

    def config() -> Config:
        try:
            loaded = holder.value.validate()
        except OSError as error:
            raise UserError(f"--config: {str(error).splitlines()[-1]}") from None
        assert isinstance(loaded, Config)
        return loaded

    return config


def config_arguments(argv: Sequence[str]) -> list[str]:
    """Of a command line that absl has parsed, `--config` and its overrides, as written.

    For commands that run others. A value may follow its flag as an argument of its own; it is
    joined to it here.

    Args:
        argv: the arguments, less the program's name.
    """
    found = []
    rest = iter(flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False))
    for argument in rest:
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name:
            break  # absl reads no flags from here on
        if not equals and name in flags.FLAGS and not flags.FLAGS[name].boolean:
            equals, value = "=", next(rest)
        if re.fullmatch(r"(no)?config(\..+)?", name):
            found.append(f"--{name}{equals}{value}")
    return found


def _with_default_config(argv: list[str]) -> list[str]:
    """The arguments with `--config` at its default, where it is defined and not given."""
    given = any(re.match(r"--?config(=|$)", argument) for argument in argv)
    if "config" not in flags.FLAGS or given:
        return argv
    default = Path(__file__).with_name("default.py")
    return [argv[0], f"--config={default}", *argv[1:]]


def _of_config_file(error: Exception) -> str:
    """One line for what a config file raised: where, and what."""
    if isinstance(error, SyntaxError):
        return f"--config: {error.filename}, line {error.lineno}: {error.msg}"
    told = str(error)
    # ml_collections makes the traceback of some errors part of its message.
    places = re.findall(r'File "([^"]+)", line (\d+)', told)
    what = told.strip().splitlines()[-1].strip()
    if not places:
        places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
        what = f"{type(error).__name__}: {error}"
    return f"--config: {places[-1][0]}, line {places[-1][1]}: {what}"


def _told(error: Exception) -> str:
    """One line for an error of flags or of the config file."""
    told = str(error)
    if "no attribute 'get_config'" in told:
        return "--config: found no get_config() in the file, expected one that returns Config"
    is_of_file = "Traceback" in told or isinstance(error, KeyError)
    return _of_config_file(error) if is_of_file else told


def _of_override(argv: list[str]) -> str | None:
    """What is wrong with the first override that cannot be one; None if the fault is another."""
    given = _with_default_config(argv)
    places = [i for i, each in enumerate(given) if re.match(r"--?config(=|$)", each)]
    overrides = [re.match(r"--?(?:no)?config\.([^=]+)(?:=(.*))?$", each) for each in given]
    if not places or not any(overrides):
        return None
    _, equals, file = given[places[-1]].partition("=")
    try:
        loaded = flags.FLAGS["config"].parser.parse(file if equals else given[places[-1] + 1])
    except Exception:  # the file's own fault, which is told of as such
        return None
    found = (problem_of(loaded, each[1], each[2] or "") for each in overrides if each)
    return next((each for each in found if each), None)


class Arguments(enum.Enum):
    """Which arguments that are no flags a command has a use for; all others are refused."""

    NONE = "none"
    AFTER_DASHES = "after --"
    ANY = "any"


def _refuse_arguments(arguments: list[str], *, wanted: Arguments) -> None:
    """Refuses what is no flag: most often the value of a boolean flag, after a space."""
    given = sys.argv
    if wanted is Arguments.AFTER_DASHES and "--" in given:
        after = len(given) - given.index("--") - 1
        arguments = arguments[: len(arguments) - after]
    if wanted is Arguments.ANY or not arguments:
        return
    found = arguments[0]
    before = given[given.index(found) - 1].lstrip("-") if found in given else ""
    hint = ""
    if before in flags.FLAGS and flags.FLAGS[before].boolean:
        hint = f"; a boolean flag is --{before} or --no{before}"
    raise UserError(f"found {found!r}, expected flags only{hint}")


def run_app(
    main: Callable[[list[str]], Mapping[str, Any] | None],
    *,
    arguments: Arguments = Arguments.NONE,
) -> None:
    """Parses flags, runs `main`, prints its result.

    A user's mistake is one line and exit code 1; a command that SIGTERM stopped says what it saved
    and exits with `EXIT_INTERRUPTED`.

    Args:
        main: gets the arguments that are no flags, program name first; what it returns, if
            anything, is printed by `print_result`.
        arguments: which of such arguments it has a use for.
    """

    def guarded(argv: list[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        try:
            _refuse_arguments(argv[1:], wanted=arguments)
            result = main(argv)
        except UserError as error:
            return _fail(str(error))
        except Interrupted as stopped:
            print(f"interrupted: {stopped}", file=sys.stderr, flush=True)
            return EXIT_INTERRUPTED
        if result is not None:
            print_result(result)
        return 0

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(_with_default_config(argv))
        except (flags.Error, KeyError, TypeError, ValueError, UnsupportedOperationError) as error:
            sys.exit(_fail(_of_override(argv) or _told(error)))
        except (UserError, AttributeError, OSError) as error:
            sys.exit(_fail(_told(error)))
        except (SyntaxError, NameError, ImportError) as error:
            sys.exit(_fail(_of_config_file(error)))

    app.run(guarded, flags_parser=parse)
