"""Many cells on this machine, as many at once as its memory allows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock
from typing import TYPE_CHECKING

import psutil

from probes.upgrade import run as deciding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes.upgrade.run import Job, Outcome

    Tell = Callable[[Job, str], None]

EACH = 3 * 2**30
"""Bytes of memory a run on the embedded model is given: it was seen to take 2.3 GB."""

THREADS = "OMP_NUM_THREADS"


def jobs_that_fit(cells: int, cores: int, available: int, each: int = EACH) -> int:
    """How many cells to run at once: two cores each, and the memory for all.

    >>> jobs_that_fit(cells=8, cores=16, available=20 * 2**30)
    6
    >>> jobs_that_fit(cells=8, cores=2, available=2**30)
    1
    """
    return max(1, min(cells, cores // 2, available // each))


def jobs_here(cells: int) -> int:
    """`jobs_that_fit` for this machine, as it is now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return jobs_that_fit(cells, cores or 1, psutil.virtual_memory().available)


def run(jobs: Sequence[Job], at_once: int, tell: Tell) -> Iterator[tuple[Job, Outcome]]:
    """Decide cells, some at once; each is given out as it ends.

    One environment is made at a time: a package that several of them need is downloaded once.
    """
    installing, stopped = Lock(), Event()
    with ThreadPoolExecutor(at_once) as threads:
        waiting = {
            threads.submit(_decide, shared(job, at_once), installing, stopped, tell): job
            for job in jobs
        }
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:  # where all were given out, there is nothing left to stop
            stopped.set()
            threads.shutdown(cancel_futures=True)


def shared(job: Job, at_once: int) -> Job:
    """The job with its share of the cores, unless the user has said how many threads to take."""
    if at_once == 1 or THREADS in os.environ:
        return job
    threads = max(1, (os.cpu_count() or 1) // at_once)
    return job.model_copy(update={"variables": {**job.variables, THREADS: str(threads)}})


def _decide(job: Job, installing: Lock, stopped: Event, tell: Tell) -> Outcome:
    return deciding.decide(job, lambda stage: tell(job, stage), installing, stopped)
