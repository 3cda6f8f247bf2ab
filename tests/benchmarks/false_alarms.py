"""How often a drawn claim fails although nothing is wrong: many runs, each under a fresh seed.

python -m tests.benchmarks.false_alarms 200
"""

from __future__ import annotations

import sys
import time

import pytest

DRAWN_CLAIMS = (
    "collapse",
    "heat-wide-varies-more",
    "samples-follow-distribution",
    "seeded",
    "greedy-repeats",
)


def alarms(seed: int) -> bool:
    """Whether any drawn claim failed under a seed; the model stays loaded between calls."""
    claims = [argument for claim in DRAWN_CLAIMS for argument in ("--claim", claim)]
    arguments = ["tests/claims", "-q", "--no-header", "--no-report", "--seed", str(seed), *claims]
    return pytest.main(arguments) != 0


def main() -> None:
    """Count the alarms and print each one's seed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    start, alarmed = time.perf_counter(), list[int]()
    for seed in range(runs):
        if alarms(seed):
            alarmed.append(seed)
        print(f"{seed + 1} runs, alarms under seeds {alarmed}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - start
    print(f"{len(alarmed)} alarms in {runs} runs of {len(DRAWN_CLAIMS)} claims, {seconds:.0f} s")
    print(f"seeds that alarmed: {alarmed}" if alarmed else "no seed alarmed")


if __name__ == "__main__":
    main()
