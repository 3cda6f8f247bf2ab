"""How often a drawn claim fails although nothing is wrong: many runs, each under a fresh seed.

    python -m tests.benchmarks.false_alarms 500

decides every check that draws, each time in another order. Runs take turns at one thread and at
all, and every twentieth is shared out to two workers of pytest-xdist, where that is installed. A
second number is the first seed, so that several processes, or environments with another
transformers, can share the work.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
WORKERS_EVERY = 20
"""One run of so many is shared out to workers: each of those loads everything anew."""


@dataclass(frozen=True)
class Setup:
    """How one run is made.

    Attributes:
        threads: of torch.
        workers: processes that share the checks; 0 for this one alone.
    """

    threads: int
    workers: int = 0

    def __str__(self) -> str:
        """In words."""
        if self.workers:
            return f"{self.workers} workers"
        return f"{self.threads} thread{'s' * (self.threads > 1)}"


def setup(number: int, all_threads: int) -> Setup:
    """How the run of a number is made.

    >>> [str(setup(number, 2)) for number in (0, 1, 19)]
    ['1 thread', '2 threads', '2 workers']
    """
    if number % WORKERS_EVERY == WORKERS_EVERY - 1 and find_spec("xdist") is not None:
        return Setup(all_threads, workers=2)
    return Setup((1, all_threads)[number % 2])


def alarm(seed: int, how: Setup) -> str:
    """What pytest printed, if a check failed under a seed; empty if all held.

    Without workers the model stays loaded between calls.
    """
    arguments = [str(ROOT / "tests" / "claims"), "-q", "--no-header", "--no-report", "--tb=line"]
    arguments += ["-p", "tests.benchmarks.drawn", "--seed", str(seed)]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # probes is imported by then
    code, output = _in_workers(arguments, how) if how.workers else _here(arguments, how)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"seed {seed}, {how}: the checks could not be run:\n{output}")
    return output if code else ""


def _here(arguments: Sequence[str], how: Setup) -> tuple[int, str]:
    torch.set_num_threads(how.threads)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main([*arguments])
    return int(code), output.getvalue()


def _in_workers(arguments: Sequence[str], how: Setup) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", *arguments, "-n", str(how.workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    """Count the alarms, and print each one's seed and what failed."""
    runs = max(1, int(sys.argv[1])) if len(sys.argv) > 1 else 500
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    all_threads = torch.get_num_threads()
    made, alarmed = dict[str, int](), dict[int, str]()
    start = time.perf_counter()
    for number in range(runs):
        how = setup(number, all_threads)
        if output := alarm(first + number, how):
            alarmed[first + number] = output
            print(output, file=sys.stderr)
        made[str(how)] = made.get(str(how), 0) + 1
        shown = ", ".join(f"{count} with {name}" for name, count in made.items())
        seconds = time.perf_counter() - start
        line = f"transformers {transformers.__version__}, {number + 1} runs ({shown}): "
        line += f"{len(alarmed)} alarms in {seconds:.0f} s, under seeds {[*alarmed]}"
        print(line, file=sys.stderr, flush=True)
    print(line)


if __name__ == "__main__":
    main()
