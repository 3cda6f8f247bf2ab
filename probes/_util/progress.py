"""Steps that take long, shown to whoever watches: a terminal, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Show = Callable[[str], AbstractContextManager[object]]
"""Takes a step in words, and returns what is to be entered while it lasts."""

LARGE = 10**9
"""Bytes that take a while to fetch or to load."""

_show: Show = nullcontext


def step(what: str, size: int) -> AbstractContextManager[object]:
    """A step that moves so many bytes: shown while it lasts, if they are many.

    >>> shown = []
    >>> unwatch = watch(lambda what: nullcontext(shown.append(what)))
    >>> with step("fetching 14.5 GB", 14_500_000_000), step("fetching 9 MB", 9_000_000):
    ...     pass
    >>> unwatch()
    >>> shown
    ['fetching 14.5 GB']
    """
    return _show(what) if size >= LARGE else nullcontext()


def watch(show: Show) -> Callable[[], None]:
    """Show every step from now on; what is returned goes back to what was before."""
    global _show
    before, _show = _show, show

    def unwatch() -> None:
        global _show  # noqa: PLW0603
        _show = before

    return unwatch
