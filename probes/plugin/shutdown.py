"""Shutdown by a signal: SIGTERM works as Ctrl-C does, and neither once records are written."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from threading import Timer, current_thread, main_thread
from traceback import walk_stack
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""The exit code by which shells and supervisors know a process that SIGTERM ended."""

PATIENCE = 1.0
"""The longest that an interrupt waits for a place where it does no harm, in seconds."""


class Shutdown:
    """Signals that end a run: SIGTERM (`terminated`), Ctrl-C when it was ending (`interrupted`)."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Call `stop` when SIGTERM comes: a test may catch the interrupt that follows it."""
        self.terminated = self.interrupted = False
        self._stop = stop
        self._ending = self._raised = False
        self._asked: float | None = None
        self._again: Timer | None = None

    def watch(self) -> None:
        """Handle SIGTERM and Ctrl-C from now on, unless another handler is set."""
        _replace(signal.SIGTERM, signal.SIG_DFL, self._on_terminate)
        _replace(signal.SIGINT, signal.default_int_handler, self._on_interrupt)

    def begin(self) -> None:
        """Ignore signals while records are written, except for a second Ctrl-C."""
        self._ending = True
        _replace(signal.SIGINT, signal.default_int_handler, self._on_interrupt)

    def raise_pending(self) -> None:
        """Raise the KeyboardInterrupt of a SIGTERM that waits, in a place where it does no harm."""
        __tracebackhide__ = True
        if self.terminated and not (self._ending or self._raised):
            self._raise("SIGTERM")

    def restore(self) -> None:
        """Restore the signal handlers."""
        if self._again is not None:
            self._again.cancel()
            self._again.join()
        _replace(signal.SIGINT, self._on_interrupt, signal.default_int_handler)
        _replace(signal.SIGTERM, self._on_terminate, signal.SIG_DFL)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        self.terminated = True
        self._stop()
        if not (self._ending or self._raised):  # it may come twice: to a process, and its group
            self._interrupt(number, frame, "SIGTERM")

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if self._ending:
            self.interrupted = True
            signal.signal(signal.SIGINT, signal.default_int_handler)
        else:
            self._interrupt(number, frame)

    def _interrupt(self, number: int, frame: FrameType | None, *why: str) -> None:
        """Raise KeyboardInterrupt where it does no harm: here, or a moment later."""
        __tracebackhide__ = True  # pytest shows the line that was interrupted
        now = time.monotonic()
        self._asked = now if self._asked is None else self._asked
        if _can_interrupt(frame) or now > self._asked + PATIENCE:
            self._raise(*why)
        self._again = Timer(0.001, _send, [number])
        self._again.start()

    def _raise(self, *why: str) -> NoReturn:
        __tracebackhide__ = True
        self._raised = True
        _replace(signal.SIGINT, self._on_interrupt, signal.default_int_handler)
        raise KeyboardInterrupt(*why)


def _can_interrupt(frame: FrameType | None) -> bool:
    """Return whether pytest can end the run after an interrupt in a frame.

    In the code of pytest, of its plugin manager, or of what this plugin's hooks call, an interrupt
    leaves hooks half done, may lose the outcome of a test that had ended, or counts as an error.
    In an instruction that belongs to no line pytest fails to show it, and so to exit.
    """
    if frame is not None and frame.f_lineno is None:
        return False
    for caller, _ in walk_stack(frame):
        module = str(caller.f_globals.get("__name__"))
        if module.startswith(_THIS_PLUGIN):
            return False
        if module.startswith(_PYTEST):
            return caller is not frame
    return True


_PYTEST = ("_pytest", "pluggy")
_THIS_PLUGIN = __name__.rpartition(".")[0]


def _send(number: int) -> None:
    """Send a signal to the main thread, where it also ends a call that waits."""
    if sys.platform != "win32" and (thread := main_thread().ident) is not None:
        signal.pthread_kill(thread, number)
    else:
        signal.raise_signal(number)


def _replace(
    number: signal.Signals, old: object, new: signal.Handlers | Callable[..., None]
) -> None:
    """Change a signal's handler, if it is the one expected and may be changed in this thread."""
    if current_thread() is main_thread() and signal.getsignal(number) == old:
        signal.signal(number, new)
