"""The flags that every command has which makes a version visible."""

from absl import flags

from serving.version_dirs import LARGEST_VERSION


def define_version() -> flags.FlagHolder[int | None]:
    """`--version`: the number, in place of the next one."""
    return flags.DEFINE_integer(
        "version",
        None,
        "Instead of the newest version plus one; above the newest.",
        lower_bound=0,
        upper_bound=LARGEST_VERSION,
    )


def define_force() -> flags.FlagHolder[bool]:
    """`--force`: the gate's refusal is logged in the version and no more."""
    return flags.DEFINE_bool("force", False, "Publish what the gate refuses; it is logged.")
