"""What a config's parts say of a field that is wrong, and which fields are free."""

import enum
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar

from configs.errors import UserError

_Choice = TypeVar("_Choice", bound=enum.Enum)

FREE = "free"


def free(default: Any) -> Any:
    """A field with a default, outside of the fingerprint."""
    return field(default=default, metadata={FREE: True})


def require(condition: bool, name: str, found: object, expected: str) -> None:
    """Raises `UserError` naming a config field unless the condition holds."""
    if not condition:
        raise UserError(f"config.{name}: found {found!r}, expected {expected}")


_TYPES = {
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    bool: ("true or false", "true or false each"),
    str: ("a string", "strings"),
}
"""By the type of a field: what it holds, and what a tuple of such holds."""


def require_types(part: Any, path: str = "") -> None:
    """Raises `UserError` naming the first field, at any depth, that is not as it is annotated.

    Numbers must be finite. A tuple of an enumeration's members may hold their names, which
    `choices` makes members of.

    Args:
        part: a dataclass: the config, or a part of it.
        path: of the part, below `config.`; empty for the config.
    """
    hints = typing.get_type_hints(type(part))
    for each in fields(part):
        below = f"{path}.{each.name}" if path else each.name
        _require_type(getattr(part, each.name), hints[each.name], below)


def _require_type(value: Any, hint: Any, path: str) -> None:
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in of:
            return
        fitting = [each for each in of if isinstance(each, type) and isinstance(value, each)]
        _require_type(value, (fitting or of)[0], path)
    elif origin is dict:
        require(isinstance(value, dict), path, value, "values by name")
        for name, each in value.items():
            _require_type(each, of[1], f"{path}.{name}")
    elif origin is tuple:
        count = None if of[-1] is Ellipsis else len(of)
        fits = isinstance(value, tuple | list) and count in (None, len(value))
        if not issubclass(of[0], enum.Enum):
            fits = fits and all(_is_a(each, of[0]) for each in value)
            expected = _TYPES[of[0]][1]
            require(fits, path, value, f"{count} {expected}" if count else expected)
    elif is_dataclass(hint):
        kind = typing.cast(type, hint)
        require(isinstance(value, kind), path, value, f"a {kind.__name__}")
        require_types(value, path)
    elif issubclass(hint, enum.Enum):
        expected = "one of " + ", ".join(each.value for each in hint)
        require(isinstance(value, hint), path, value, expected)
    else:
        require(_is_a(value, hint), path, value, _TYPES[hint][0])


def _is_a(value: object, kind: type) -> bool:
    """Whether a value is one of `_TYPES`; Python's true and false are integers, but not here."""
    if kind in (bool, str):
        return isinstance(value, kind)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (
        kind is float and isinstance(value, float) and math.isfinite(value)
    )


def require_positive(part: object, path: str, *names: str) -> None:
    """Raises `UserError` unless each of these fields of a part of the config is above 0."""
    for name in names:
        value = getattr(part, name)
        require(value > 0, f"{path}.{name}", value, "a positive number")


def require_not_negative(part: object, path: str, *names: str) -> None:
    """Raises `UserError` unless each of these fields of a part of the config is 0 or more."""
    for name in names:
        value = getattr(part, name)
        require(value >= 0, f"{path}.{name}", value, "0 or more")


def require_share(part: object, path: str, *names: str) -> None:
    """Raises `UserError` unless each of these fields of a part of the config is in [0, 1)."""
    for name in names:
        value = getattr(part, name)
        require(0.0 <= value < 1.0, f"{path}.{name}", value, "a share in [0, 1)")


def choices(kind: type[_Choice], given: Iterable[_Choice | str], path: str) -> tuple[_Choice, ...]:
    """Members of an enumeration; a tuple given on the command line holds their names.

    Raises:
        UserError: there is none of such a name.
    """
    known = [each.value for each in kind]
    names = [each.value if isinstance(each, kind) else each for each in given]
    for name in names:
        require(name in known, path, name, "one of " + ", ".join(known))
    return tuple(kind(name) for name in names)
