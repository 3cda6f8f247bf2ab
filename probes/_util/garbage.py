"""Spare Python's search for reference cycles objects that last."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def pause_cycle_search() -> Iterator[None]:
    """Pause the search, unless it is off already.

    It walks over all objects again and again while they become more: where a tokenizer's file
    holds 500,000 lists, that takes longer than reading it.

    >>> with pause_cycle_search():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def skip_present_objects() -> None:
    """Leave out of the search what exists now, once a process.

    The modules, tests and options of a run last until it ends: walking over them again and again
    took 3 of the 60 seconds in which the embedded model's claims were decided.
    """
    gc.freeze()
