"""A line on the terminal that shows what a step does, once it has taken a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 12
REFRESHES = 2
"""A second: enough for a clock, and next to nothing beside a computation."""


@dataclass(frozen=True)
class Progress:
    """What a step does: its name, what it has done so far, and the seconds it may take."""

    name: str
    done: str = ""
    expected: float | None = None


class SlowStep:
    """Shows steps that take long, each on the line below the present one while it lasts.

    The cursor returns to where it was: what a test runner writes there goes on unbroken.
    """

    def __init__(self, console: Console, column: Callable[[], int], after: float) -> None:
        """Show a step `after` so many seconds; `column` returns where the cursor is."""
        self._console = console
        self._column = column
        self._after = after
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._live: Live | None = None
        self._describe: Callable[[], Progress] | None = None
        self._start = 0.0

    @contextmanager
    def watch(self, describe: Callable[[], Progress]) -> Iterator[None]:
        """Show a step while it lasts, if it lasts long; `describe` is called in another thread."""
        self._describe, self._start = describe, perf_counter()
        self._begin()
        try:
            yield
        finally:
            self._end()
            self._describe = None

    def stop(self) -> None:
        """Show no more of the present step."""
        self._end()
        self._describe = None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the terminal to others for a while."""
        self._end()
        try:
            yield
        finally:
            if self._describe is not None:
                self._begin()

    def _begin(self) -> None:
        self._timer = threading.Timer(self._after, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():  # the step ended at this moment
                return
            self._console.line()
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESHES,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _end(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._live is not None:
                self._live.stop()
                self._live = None
                self._console.control(Control.move_to_column(self._column(), -1))

    def _render(self) -> Table:
        progress = Progress("") if self._describe is None else self._describe()
        return format_progress(progress, perf_counter() - self._start, self._console.width)


def format_progress(progress: Progress, elapsed: float, width: int) -> Table:
    """Return a step's progress as one row of `width` columns: its name, a bar, and in words."""
    expected = progress.expected
    clock = f"{elapsed:.0f} s"
    if expected is not None:
        is_late = elapsed > expected
        clock += (
            f", expected {format_about(expected)}" if is_late else f" of {format_about(expected)}"
        )
    words = " · ".join(part for part in (clock, progress.done) if part)
    bar = ProgressBar(total=expected, completed=elapsed, width=BAR_WIDTH, pulse=expected is None)
    name = Text(progress.name, no_wrap=True)
    name.truncate(max(10, width - len(words) - BAR_WIDTH - 3), overflow="ellipsis")
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True, width=name.cell_len)
    row.add_column(width=BAR_WIDTH)
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_row(name, bar, Text(words))
    return row


def format_about(seconds: float) -> str:
    """Return a duration as roughly as an estimate deserves.

    >>> [format_about(seconds) for seconds in (2, 37, 134, 1000, 5000)]
    ['about 5 s', 'about 35 s', 'about 2 min 10 s', 'about 17 min', 'about 1 h 25 min']
    """
    if seconds < 57.5:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes, rest = divmod(10 * round(seconds / 10), 60)
    if minutes < 10:
        return f"about {minutes} min {rest} s" if rest else f"about {minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"
