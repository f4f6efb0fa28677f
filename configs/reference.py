"""Every field of a config as one page, from the docstrings: `python -m configs.reference`."""

import enum
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from absl import flags

from configs.checks import FREE
from configs.cli import run_app
from configs.files import write_text
from configs.kinds import KINDS, Causal, Count, Feature
from configs.schema import Config

PAGE = Path("docs/configuration.md")

_HEAD = """# Configuration

Every field of a config, its default and its meaning; `python -m configs.reference` writes this
page. A config is a Python file with `get_config()`, which returns `configs.schema.Config`. Any
value can be overridden on the command line, `--config.train.batch_size=8192`. Fields with a †
change what a dataset says: it is made anew then. The simulators' fields are in
`configs/simulation.py`.
"""
_BESIDE = "What the fields of several kinds are made of:"
_SIMULATION = "simulation"
_DATA = "data."


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD, "## Features\n", "What all kinds have:\n", _table(Feature, "")]
    parts += [_section(kind, f"### `{kind.__name__}`", "") for kind in KINDS]
    parts += [
        _BESIDE + "\n",
        *(_section(each, f"### `{each.__name__}`", "") for each in (Count, Causal)),
    ]
    parts += [text for each in _parts(Config, "") for text in each]
    return "\n".join(parts)


def _parts(of: type, path: str) -> Iterator[list[str]]:
    """A section for each dataclass below a config, depth first."""
    for each in fields(of):
        for kind in _dataclasses(typing.get_type_hints(of)[each.name]):
            below = f"{path}{each.name}."
            if issubclass(kind, Feature) or each.name == _SIMULATION:
                continue
            level = "##" if not path else "###"
            yield [_section(kind, f"{level} `{below[:-1]}`", below)]
            yield from _parts(kind, below)


def _dataclasses(hint: Any) -> list[type]:
    alternatives = typing.get_args(hint) or (hint,)
    return [each for each in alternatives if isinstance(each, type) and is_dataclass(each)]


def _section(of: type, title: str, path: str) -> str:
    summary = inspect.cleandoc(of.__doc__ or "").split("\n\nAttributes:")[0]
    own = "" if summary.startswith(f"{of.__name__}(") else " ".join(summary.split()) + "\n"
    inherited = {each.name for each in fields(Feature)} if issubclass(of, Feature) else set()
    return f"{title}\n\n{own}\n{_table(of, path, without=inherited)}"


def _table(of: type, path: str, *, without: set[str] | frozenset[str] = frozenset()) -> str:
    told = attributes_of(of)
    rows = []
    for each in fields(of):
        hint = typing.get_type_hints(of)[each.name]
        is_part = bool(_dataclasses(hint)) and not issubclass(of, Feature)
        if each.name in without or is_part:
            continue
        of_dataset = issubclass(of, Feature | Count) or path.startswith(_DATA)
        made_anew = of_dataset and not each.metadata.get(FREE)
        name = f"`{path}{each.name}`{' †' if made_anew else ''}"
        text = told[each.name] + _choices(hint)
        rows.append(f"| {name} | {_default(each)} | {text} |".replace("\n", " "))
    return "\n".join(["| field | default | |", "|---|---|---|", *rows, ""]) if rows else ""


def attributes_of(of: type) -> dict[str, str]:
    """What the docstring says of each field, by name; of a base class's where it says nothing."""
    told: dict[str, str] = {}
    for each in reversed(of.__mro__):
        _, _, listed = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE):
            told[name] = " ".join(text.split()).replace("|", "\\|")
    return told


def _default(each: Field[Any]) -> str:
    value = each.default
    if value is MISSING and each.default_factory is not MISSING:
        value = each.default_factory()
    if value is MISSING:
        return ""
    if isinstance(value, tuple) and any(isinstance(one, enum.Enum) for one in value):
        return ", ".join(f"`{one.value}`" for one in value)
    return f"`{value.value if isinstance(value, enum.Enum) else value!r}`"


def _choices(hint: Any) -> str:
    for each in (hint, *typing.get_args(hint)):
        if isinstance(each, type) and issubclass(each, enum.Enum):
            return " One of " + ", ".join(f"`{one.value}`" for one in each) + "."
    return ""


def main(argv: list[str]) -> dict[str, Any]:
    """Writes the page."""
    del argv
    write_text(Path(_OUTPUT.value), page())
    return {"page": _OUTPUT.value}


if __name__ == "__main__":
    _OUTPUT = flags.DEFINE_string("output", str(PAGE), "The page.")
    run_app(main)
