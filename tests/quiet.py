"""Where what a run says goes, if a test does not look at it."""

from rich.console import Console

QUIET = Console(quiet=True)
