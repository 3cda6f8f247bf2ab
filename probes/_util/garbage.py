"""Pause Python's search for reference cycles while many lasting objects are made."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
