"""The errors that a user can correct, those of a broken model, and help for their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    r"""A user's mistake: what was wanted, what came, what to do, in one line.

    pytest turns it into a usage error (exit 4), the command line into exit 2. It never reaches the
    user as a traceback.

    >>> print(UserError("no key '\x1b[2J'"))
    no key '\x1b[2J'
    """

    def __init__(self, message: str) -> None:
        """Make one line of the message; it may quote a file with control characters."""
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))
        self.lines: tuple[str, ...] = (str(self),)


class NothingCanRunError(UserError):
    """No target can be used here.

    >>> NothingCanRunError(["target 'a': no GPU", "target 'b': no weights"]).lines
    ('nothing can run here:', "target 'a': no GPU", "target 'b': no weights")
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        """Take one reason for each target, one line each."""
        super().__init__(f"nothing can run here: {' | '.join(reasons)}")
        self.lines = ("nothing can run here:", *reasons)


class UnusableTargetError(UserError):
    """The target cannot be loaded: nothing more can be decided on it."""


class EndpointFailedError(UserError):
    """A server answers with an error, or with what cannot be read."""

    def __init__(self, message: str, status: int | None = None, said: str = "") -> None:
        """Take the HTTP status if that is the error, and what the server said of it."""
        super().__init__(message)
        self.status, self.said = status, said


class BrokenModelError(AssertionError):
    """The model itself is broken: claims about it fail."""


class NotFiniteError(BrokenModelError):
    """The network returns NaN or infinity."""


class TokenizerFailedError(BrokenModelError):
    """The tokenizer raised an error for a text, or for ids that the network generates."""


class UnknownIdError(BrokenModelError):
    """A token id has no row in the network's embedding."""


class UndecidableError(Exception):
    """The model cannot be asked what would decide a claim, which is then not applicable."""


class OverTokenBudgetError(Exception):
    """A request would take more tokens than a run may ask of an endpoint."""


class MissingCapabilityError(UndecidableError, AttributeError):
    """The engine lacks a capability, and so the methods that come with it."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the nearest known word, or an empty text.

    >>> did_you_mean("embeded", ["embedded", "gpt2-xl"])
    "; did you mean 'embedded'?"
    """
    by_lower = {each.lower(): each for each in known}
    match = difflib.get_close_matches(word.lower()[:200], by_lower, n=1)
    return f"; did you mean '{by_lower[match[0]]}'?" if match else ""
