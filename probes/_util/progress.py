"""Report steps that take long to a terminal, if one is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

Show = Callable[[str], AbstractContextManager[object]]
"""Takes the text of a step, and returns a context manager that is entered while it lasts."""

LARGE = 10**9
"""Bytes that take a while to fetch or to load."""

_show: Show = nullcontext
_seconds = 0.0


@contextmanager
def step(what: str, size: int) -> Iterator[None]:
    """Time a step that moves `size` bytes, and show it while it lasts if they are many.

    >>> lines = []
    >>> unwatch = watch(lambda what: nullcontext(lines.append(what)))
    >>> with step("fetching 14.5 GB", 14_500_000_000), step("fetching 9 MB", 9_000_000):
    ...     unwatch()
    >>> lines
    ['fetching 14.5 GB']
    """
    global _seconds  # noqa: PLW0603
    start = perf_counter()
    try:
        with _show(what) if size >= LARGE else nullcontext():
            yield
    finally:
        _seconds += perf_counter() - start


def total_seconds() -> float:
    """Return how long all steps of this process have taken."""
    return _seconds


def watch(show: Show) -> Callable[[], None]:
    """Show every step from now on; the returned function restores the previous state."""
    global _show
    before, _show = _show, show

    def unwatch() -> None:
        global _show  # noqa: PLW0603
        _show = before

    return unwatch
