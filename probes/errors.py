"""The one error type for a user's mistake."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: what was wanted, what came, what to do, in one line.

    Each edge turns it into its own kind of refusal: pytest into a usage error (exit 4), the
    command line into exit 2. It never reaches the user as a traceback.

    >>> str(UserError("no target 'embeded': did you mean 'embedded'?"))
    "no target 'embeded': did you mean 'embedded'?"
    """

    def __init__(self, message: str) -> None:
        """Make one line of the message."""
        super().__init__(" ".join(message.split()))


class UnusableTargetError(UserError):
    """The target cannot be loaded: nothing more can be decided on it."""
