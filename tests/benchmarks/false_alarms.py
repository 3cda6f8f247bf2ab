"""Count how often checks that sample fail although nothing is wrong.

    python -m tests.benchmarks.false_alarms [RUNS [FIRST_SEED]]

Every check that samples is decided on the embedded model under a new seed each time, and in another
order: with one thread and with all in turn, every twentieth time with two workers of pytest-xdist,
where that is installed. With other first seeds, several processes can share the work.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections import Counter
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
"""One run of so many uses workers, which load everything again."""


@dataclass(frozen=True)
class Setup:
    """How one run is made: threads of torch, and processes that share the checks."""

    threads: int
    workers: int = 0

    def __str__(self) -> str:
        if self.workers:
            return f"{self.workers} workers"
        return f"{self.threads} thread{'s' * (self.threads > 1)}"


def choose_setup(number: int, all_threads: int) -> Setup:
    if number % WORKERS_EVERY == WORKERS_EVERY - 1 and find_spec("xdist") is not None:
        return Setup(all_threads, workers=2)
    return Setup((1, all_threads)[number % 2])


def find_alarm(seed: int, setup: Setup) -> str:
    """Return what pytest printed if a check failed under a seed; empty if all held."""
    arguments = [str(ROOT / "tests" / "claims"), "-q", "--no-header", "--no-report", "--tb=line"]
    arguments += ["-p", "tests.benchmarks.only_seeded", "--seed", str(seed)]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # probes is imported by then
    run = _run_in_workers if setup.workers else _run_here
    code, output = run(arguments, setup)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"seed {seed}, {setup}: the checks could not be run:\n{output}")
    return output if code else ""


def _run_here(arguments: Sequence[str], setup: Setup) -> tuple[int, str]:
    torch.set_num_threads(setup.threads)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main([*arguments])
    return int(code), output.getvalue()


def _run_in_workers(arguments: Sequence[str], setup: Setup) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", *arguments, "-n", str(setup.workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    runs = max(1, int(sys.argv[1])) if len(sys.argv) > 1 else 500
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    all_threads = torch.get_num_threads()
    setups, alarms = Counter[str](), dict[int, str]()
    start = time.perf_counter()
    for number in range(runs):
        setup = choose_setup(number, all_threads)
        if output := find_alarm(first + number, setup):
            alarms[first + number] = output
            print(output, file=sys.stderr)
        setups[str(setup)] += 1
        counts = ", ".join(f"{count} with {name}" for name, count in setups.items())
        line = (
            f"transformers {transformers.__version__}, {number + 1} runs ({counts}): "
            f"{len(alarms)} alarms in {time.perf_counter() - start:.0f} s, under seeds {[*alarms]}"
        )
        print(line, file=sys.stderr, flush=True)
    print(line)


if __name__ == "__main__":
    main()
