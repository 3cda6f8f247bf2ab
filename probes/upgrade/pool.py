"""Many cells on this machine, as many at once as its memory allows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from threading import Event

import psutil

from probes.upgrade.cells import Cell
from probes.upgrade.run import Outcome, Plan, decide

Show = Callable[[Cell, str], None]
"""Takes the name of a stage that begins in a cell."""

BYTES_PER_CELL = 3 * 2**30
"""A run on the embedded model was seen to take 2.3 GB."""

THREADS = "OMP_NUM_THREADS"


class StoppedError(Exception):
    """The command was stopped."""


def count_fitting(cells: int, cores: int, available: int) -> int:
    """Return how many cells to run at once: two cores each, and memory for all.

    >>> count_fitting(cells=8, cores=16, available=20 * 2**30)
    6
    """
    return max(1, min(cells, cores // 2, available // BYTES_PER_CELL))


def decide_all(
    plan: Plan, cells: Sequence[Cell], at_once: int | None, show: Show
) -> Iterator[Outcome]:
    """Decide cells, some at once, and yield each as it ends."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    available = psutil.virtual_memory().available
    at_once = at_once or count_fitting(len(cells), cores or 1, available)
    if at_once > 1 and THREADS not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // at_once)
        plan = plan.model_copy(update={"variables": {THREADS: str(threads)}})
    stopped = Event()

    def decide_one(cell: Cell) -> Outcome:
        def show_unless_stopped(stage: str) -> None:
            if stopped.is_set():
                raise StoppedError
            show(cell, stage)

        return decide(plan, cell, show_unless_stopped)

    with ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(decide_one, cell) for cell in cells]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while any(each.running() for each in waiting):
                _end_children()
                time.sleep(0.1)


def _end_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
