"""The one exception that a command turns into a single line for its user."""


class UserError(Exception):
    """A mistake in a flag, file or field that the user can mend.

    The message is one line: it names the flag, file or field, what was found and what was expected.
    """
