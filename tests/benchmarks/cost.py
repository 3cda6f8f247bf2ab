"""Compare the cost of deciding every claim with that of the published experiment's calls.

python -m tests.benchmarks.cost

The experiment calls `generate` for one row at a time; this makes as many calls of these lengths.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, SPELLED_BOS, STORIES
from probes.plugin.session import DEFAULT_TARGET
from probes.schema.record import Cost
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTIONS = (SPELLED_BOS, "When did World War II end? ", "Who painted the Mona Lisa? ")
OTHER_CAPITALS = ("The capital of France is", "The capital of Germany is")

Cell = tuple[str, bool, Sampling | None, int]


def list_cells() -> list[Cell]:
    """Return prompt, BOS, settings and new tokens of each call: 53 calls, 1,440 tokens."""
    repeated = [(CAPITAL_OF_JAPAN, True, None, 20)] * 6
    bos = [(CAPITAL_OF_JAPAN, b, None, n) for b in (True, False) for n in (20, 60)]
    others = [(prompt, b, None, 50) for prompt in OTHER_CAPITALS for b in (True, False)]
    settings = (NEAR_GREEDY, NARROW_HOT, WIDE_HOT)
    heat = [(CAPITAL_OF_JAPAN, True, s, 20) for s in settings for _ in range(5)]
    facts = [(question, True, s, 20) for question in QUESTIONS for s in (NEAR_GREEDY, WIDE_HOT)]
    stories = [(s, True, n, 30) for s in STORIES for n in (None, WIDE_HOT) for _ in range(3)]
    return [*repeated, *bos, *others, *heat, *facts, *stories]


def measure(model: probes.Model, run: Callable[[], object]) -> Cost:
    before, start = model.cost, time.perf_counter()
    run()
    spent = model.cost - before
    return spent.model_copy(update={"seconds": time.perf_counter() - start})


def call_by_hand(model: probes.Model) -> None:
    for number, (prompt, bos, sampling, length) in enumerate(list_cells()):
        ids = model.encode(prompt, add_special_tokens=bos)
        model.generate(ids, sampling=sampling, seed=number, max_new_tokens=length)


def decide_claims() -> Cost:
    """Decide every claim in this process, and read the cost from the record."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["tests/claims", "-q", "--no-header", "--report-dir", folder]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # probes is imported
        if pytest.main(arguments) != 0:
            sys.exit("not all claims hold: their cost has no meaning")
        record = next(Path(folder).glob("embedded/*/record.json"))
        return Cost(**json.loads(record.read_text(encoding="utf-8"))["cost"])


def format_row(name: str, cost: Cost) -> str:
    return f"{name:<22}{cost.seconds:>9.1f} s{cost.forward_passes:>9,} passes{cost.rows:>9,} rows"


def main() -> None:
    model = probes.load(DEFAULT_TARGET)
    model.generate(CAPITAL_OF_JAPAN)  # loads the model before anything is timed
    cost = measure(model, partial(call_by_hand, model))
    print(format_row(f"{len(list_cells())} calls by hand", cost))
    for beams in (1, 2, 4, 8):
        search = partial(model.generate, STORIES[0], do_sample=False, max_new_tokens=20)
        print(format_row(f"{beams} beams", measure(model, partial(search, num_beams=beams))))
    print(format_row("every claim", decide_claims()))


if __name__ == "__main__":
    main()
