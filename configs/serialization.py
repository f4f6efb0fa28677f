"""Configs as JSON and back, so that a dataset, a checkpoint and an export can carry theirs."""

import dataclasses
import enum
import types
import typing
from typing import Any

from configs.errors import UserError

KIND = "class"


def to_dict(value: Any) -> Any:
    """Plain JSON of dataclasses, enums, tuples, dicts; a dataclass carries its class as `class`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        body = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {KIND: type(value).__name__, **body}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: to_dict(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [to_dict(each) for each in value]
    return value


def from_dict(cls: type[Any], data: dict[str, Any], *, kinds: tuple[type[Any], ...] = ()) -> Any:
    """The dataclass that `to_dict` made `data` of.

    Args:
        cls: its class.
        data: what `to_dict` gave.
        kinds: subclasses that a field annotated with their base class may hold.

    Raises:
        UserError: a field is unknown or missing.
    """
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(data) - names - {KIND})
    if unknown:
        raise UserError(f"config: {cls.__name__} has no field {unknown[0]!r}")
    given = {n: _value(hints[n], data[n], kinds) for n in names if n in data}
    try:
        return cls(**given)
    except TypeError as error:
        raise UserError(f"config: {cls.__name__}: {error}") from None


def _value(hint: Any, data: Any, kinds: tuple[type[Any], ...]) -> Any:
    origin = typing.get_origin(hint)
    if origin is dict:
        inner = typing.get_args(hint)[1]
        return {key: _value(inner, each, kinds) for key, each in data.items()}
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_value(inner, each, kinds) for each in data)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        options = [each for each in typing.get_args(hint) if each is not type(None)]
        if isinstance(data, dict):
            named = [each for each in options if each.__name__ == data.get(KIND)]
            return from_dict(named[0] if named else options[0], data, kinds=kinds)
        return _value(options[0], data, kinds)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(data)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        below = {k.__name__: k for k in kinds if issubclass(k, hint)}
        return from_dict(below.get(data.get(KIND), hint), data, kinds=kinds)
    return data
