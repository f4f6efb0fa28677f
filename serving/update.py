"""`python -m serving.update`: videos added and removed without training, in seconds."""

from pathlib import Path
from typing import Any

from absl import flags

from configs.cli import console, run_app
from configs.errors import UserError
from serving.publish_flags import define_force, define_version
from serving.removed import read_ids

_MODEL = flags.DEFINE_string(
    "model", None, "Base path of a model, or one version of it.", required=True
)
_ADD = flags.DEFINE_string("add", None, "JSON Lines of videos to add.")
_REMOVE = flags.DEFINE_string("remove", None, "Text file of video ids to remove, one a line.")
_VERSION = define_version()
_FORCE = define_force()


def main(argv: list[str]) -> dict[str, Any]:
    """Updates and returns the report."""
    del argv
    if _ADD.value is None and _REMOVE.value is None:
        raise UserError("--add: found neither --add nor --remove, expected one of them")
    for flag in (_ADD, _REMOVE):
        if flag.value == "":
            raise UserError(f"--{flag.name}: found an empty value, expected a file")
    remove = read_ids(Path(_REMOVE.value)) if _REMOVE.value else []
    from serving.updating import update  # Only now: TensorFlow takes seconds.

    return update(
        Path(_MODEL.value),
        add=Path(_ADD.value) if _ADD.value else None,
        remove=remove,
        version=_VERSION.value,
        force=_FORCE.value,
        console=console(),
    )


if __name__ == "__main__":
    run_app(main)
