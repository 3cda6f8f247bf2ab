"""How often a drawn claim fails although nothing is wrong: many runs, each under a fresh seed.

python -m tests.benchmarks.false_alarms 200

A second number is the first seed, so that several processes can share the work. Ids of claims
after it leave out all others.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

DRAWN_CLAIMS = (
    "collapse",
    "heat-wide-varies-more",
    "samples-follow-distribution",
    "seeded",
    "greedy-repeats",
    "knowledge-accuracy",
    "knowledge-dose",
    "stories-sampled",
    "task-settings",
)

DRAWN_TESTS = (
    *("five_near_greedy", "vary_more", "first_tokens", "pairs", "whole_vocabulary"),
    *("a_seed", "long_greedy", "drawn_answers", "three_wide_hot"),
    *("wide_hot_fewer", "accuracy_falls", "facts_want"),
)
"""What tells the tests that draw: the others come out the same under every seed."""


def alarms(seed: int, ids: Sequence[str]) -> bool:
    """Whether any drawn claim failed under a seed; the model stays loaded between calls."""
    claims = [argument for claim in ids for argument in ("--claim", claim)]
    arguments = ["tests/claims", "-q", "--no-header", "--no-report", "--seed", str(seed), *claims]
    arguments += ["-k", " or ".join(DRAWN_TESTS)]
    return pytest.main(arguments) != 0


def main() -> None:
    """Count the alarms and print each one's seed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    ids = sys.argv[3:] or DRAWN_CLAIMS
    start, alarmed = time.perf_counter(), list[int]()
    for number in range(runs):
        if alarms(first + number, ids):
            alarmed.append(first + number)
        print(f"{number + 1} runs, alarms under seeds {alarmed}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - start
    print(f"{len(alarmed)} alarms in {runs} runs of {len(ids)} claims, {seconds:.0f} s")
    print(f"seeds that alarmed: {alarmed}" if alarmed else "no seed alarmed")


if __name__ == "__main__":
    main()
