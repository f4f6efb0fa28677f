"""The flags of `serving.server`, made from `ServerOptions`."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

from absl import flags

from serving.options import ServerOptions

_DEFINE: dict[type, Any] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
    Path: flags.DEFINE_string,
}


def define_options() -> Any:
    """Defines a flag for each option.

    Returns:
        What gives the validated `ServerOptions` once flags are parsed; it raises `UserError` where
        a value makes no sense.
    """
    fields = dataclasses.fields(ServerOptions)
    holders = {}
    for field in fields:
        is_required = field.default is dataclasses.MISSING
        holders[field.name] = _DEFINE[_plain_type(field.type)](
            field.name,
            None if is_required else field.default,
            field.metadata["help"],
            required=is_required,
        )

    def options() -> ServerOptions:
        values: dict[str, Any] = {}
        for field in fields:
            value = holders[field.name].value
            is_path = _plain_type(field.type) is Path and value is not None
            values[field.name] = Path(value) if is_path else value
        return ServerOptions(**values).validate()

    return options


def _plain_type(annotation: Any) -> type:
    """The type of an option, without the None of one that may be off."""
    plain = [each for each in typing.get_args(annotation) if each is not type(None)]
    found: type = plain[0] if plain else annotation
    return found
