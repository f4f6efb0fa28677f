"""What a config's parts say of a field that is wrong, and which fields are free."""

import enum
from collections.abc import Iterable
from dataclasses import field
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
