"""The exceptions that a command turns into a single line and an exit code."""


class UserError(Exception):
    """A mistake in a flag, file or field that the user can mend.

    The message is one line: it names the flag, file or field, what was found and what was expected.
    """


class Interrupted(BaseException):
    """The command was told to stop (SIGTERM) and left nothing half-done.

    As with `KeyboardInterrupt`, no `except Exception` on the way may swallow it.
    """


EXIT_INTERRUPTED = 75
"""Of a command that was interrupted: run it again. `EX_TEMPFAIL` of BSD's sysexits.h."""
