"""How a run is ended from outside: SIGTERM as Ctrl-C, and neither once records are written."""

from __future__ import annotations

import signal
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINATED = 128 + signal.SIGTERM
"""The exit code by which shells and supervisors know a process that SIGTERM ended."""


class Ending:
    """What asks this process to end a run, and whether anything did.

    Attributes:
        terminated: whether SIGTERM came.
        interrupted: whether Ctrl-C came when the run was ending already.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        """Call `stop` when SIGTERM comes: a test may catch the interrupt that it then raises."""
        self.terminated = self.interrupted = False
        self._stop = stop
        self._ending = False

    def watch(self) -> None:
        """Take SIGTERM from now on, unless somebody else takes it already."""
        _replace(signal.SIGTERM, signal.SIG_DFL, self._on_terminate)

    def begin(self) -> None:
        """From now on the run ends by itself: records are written, and nothing must cut in.

        A second Ctrl-C is obeyed at once.
        """
        self._ending = True
        _replace(signal.SIGINT, signal.default_int_handler, self._on_interrupt)

    def forget(self) -> None:
        """Leave signals to whoever comes next."""
        _replace(signal.SIGINT, self._on_interrupt, signal.default_int_handler)
        _replace(signal.SIGTERM, self._on_terminate, signal.SIG_DFL)

    def _on_terminate(self, *_: object) -> None:
        if self.terminated:  # some send it twice, to a process and to its group
            return
        self.terminated = True
        self._stop()
        if not self._ending:
            raise KeyboardInterrupt("SIGTERM")

    def _on_interrupt(self, *_: object) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _replace(
    number: signal.Signals, old: object, new: signal.Handlers | Callable[..., None]
) -> None:
    """Change what a signal does, if it does what is expected and may be changed from here."""
    if current_thread() is main_thread() and signal.getsignal(number) == old:
        signal.signal(number, new)
