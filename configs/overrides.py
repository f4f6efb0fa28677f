"""Why `--config.a.b=c` is no override: ml_collections tells of its own types, and of no path."""

from dataclasses import fields, is_dataclass
from typing import Any


def problem_of(config: Any, path: str, value: str) -> str | None:
    """What is wrong with the path of an override, in one line; None if it leads to a field.

    Args:
        config: what the config file gave.
        path: such as `train.batch_size`.
        value: as given, for the message.
    """
    holder, at = config, "config"
    for name in path.split("."):
        if holder is None:
            return f"--config.{path}: found none at {at}, expected --{at}=build before it"
        names = _names_in(holder)
        if holder == {}:
            return f"--config.{path}: found {name!r}, expected none below {at}, which is empty"
        if not names:
            return f"--config.{path}: found {name!r} below {at}, expected --{at}=VALUE"
        if name not in names:
            return f"--config.{path}: found {name!r}, expected a name in {at}: {', '.join(names)}"
        holder = holder[name] if isinstance(holder, dict) else getattr(holder, name)
        at = f"{at}.{name}"
    if holder == {}:
        return f"--{at}: found {value!r}, expected it to be filled in the config file: it is empty"
    if names := _names_in(holder):
        return f"--{at}: found {value!r}, expected a value of one of its parts: " + ", ".join(
            f"--{at}.{name}" for name in names
        )
    return None


def _names_in(holder: Any) -> list[str]:
    if isinstance(holder, dict):
        return list(holder)
    return [each.name for each in fields(holder)] if is_dataclass(holder) else []
