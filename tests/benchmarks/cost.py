"""What deciding every claim costs, against trying the same things by hand.

The published experiment calls `generate` cell by cell, one row at a time. This makes calls of the
same number and lengths on the embedded model, then decides all claims on the same loaded model in
the same process, and prints both: seconds, how many of them in the network, forward passes, rows.
Below stands what a search costs as beams are added.

    python -m tests.benchmarks.cost
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, SPELLED_BOS, STORIES
from probes.plugin.session import DEFAULT_TARGET
from probes.schema.record import Cost
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTIONS = (SPELLED_BOS, "When did World War II end? ", "Who painted the Mona Lisa? ")
OTHER_CAPITALS = ("The capital of France is", "The capital of Germany is")

Cell = tuple[str, bool, Sampling | None, int]


def cells() -> list[Cell]:
    """Prompt, whether with BOS, settings and new tokens of each call: 53 calls, 1,440 tokens."""
    default = [(CAPITAL_OF_JAPAN, True, None, 20)]
    repeated = [(CAPITAL_OF_JAPAN, True, None, 20)] * 5
    bos = [(CAPITAL_OF_JAPAN, b, None, n) for b in (True, False) for n in (20, 60)]
    others = [(prompt, b, None, 50) for prompt in OTHER_CAPITALS for b in (True, False)]
    heat = [
        (CAPITAL_OF_JAPAN, True, s, 20)
        for s in (NEAR_GREEDY, NARROW_HOT, WIDE_HOT)
        for _ in "12345"
    ]
    facts = [(question, True, s, 20) for question in QUESTIONS for s in (NEAR_GREEDY, WIDE_HOT)]
    stories = [(story, True, s, 30) for story in STORIES for s in (None, WIDE_HOT) for _ in "123"]
    return [*default, *repeated, *bos, *others, *heat, *facts, *stories]


def by_hand(model: probes.Model) -> Cost:
    """Make every cell's call, and count."""
    before, start = model.cost, time.perf_counter()
    for number, (prompt, bos, sampling, length) in enumerate(cells()):
        ids = model.encode(prompt, add_special_tokens=bos)
        model.generate(ids, sampling=sampling, seed=number, max_new_tokens=length)
    spent = model.cost - before
    return spent.model_copy(update={"seconds": time.perf_counter() - start})


def by_claims() -> Cost:
    """Decide every claim in this process, and read the cost from the record."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["tests/claims", "-q", "--no-header", "--report-dir", folder]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # probes is imported
        if pytest.main(arguments) != 0:
            sys.exit("the claims do not all hold: their cost says nothing")
        record = next(Path(folder).glob("embedded/*/record.json"))
        return Cost(**json.loads(record.read_text(encoding="utf-8"))["cost"])


def by_beams(model: probes.Model, beams: int) -> Cost:
    """Search for one text of 20 tokens with so many beams, and count."""
    before, start = model.cost, time.perf_counter()
    model.generate(STORIES[0], num_beams=beams, do_sample=False, max_new_tokens=20)
    spent = model.cost - before
    return spent.model_copy(update={"seconds": time.perf_counter() - start})


@contextmanager
def network_clock(model: probes.Model) -> Iterator[list[float]]:
    """Collects the seconds of every forward pass, of this model's class, in this process."""
    kind, seconds = type(model.network), list[float]()
    original = kind.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    with mock.patch.object(kind, "forward", forward):
        yield seconds


def line(name: str, cost: Cost, network: list[float]) -> str:
    """One row of the comparison."""
    return (
        f"{name:<22}{cost.seconds:>9.1f} s{sum(network):>9.1f} s in the network"
        f"{cost.forward_passes:>9,} passes{cost.rows:>9,} rows"
    )


def main() -> None:
    """Run both and print them."""
    model = probes.load(DEFAULT_TARGET)
    model.generate(CAPITAL_OF_JAPAN)  # so that neither pays for the loading
    with network_clock(model) as network:
        hand = line(f"{len(cells())} calls by hand", by_hand(model), network)
    searches = []
    for beams in (1, 2, 4, 8):
        with network_clock(model) as network:
            searches.append(line(f"{beams} beams", by_beams(model, beams), network))
    with network_clock(model) as network:
        claims = line("every claim", by_claims(), network)
    print(hand, claims, *searches, sep="\n")


if __name__ == "__main__":
    main()
