"""Compare the cost of deciding every claim with that of the published experiment's calls.

    python -m tests.benchmarks.cost [--target TARGET] [--beams]
    python -m tests.benchmarks.cost --record RUN
    python -m tests.benchmarks.cost --table > probes/data/costs.toml

The experiment calls `generate` for one row at a time; this makes as many calls of these lengths on
a target, then decides every claim on it in the same process, and prints both costs, their ratio and
the claims that cost most. Claims that do not hold are named and stop nothing. With `--record` only
the claims of an earlier run are listed. `--table` decides every claim on the embedded model in one
run, then each alone, and prints what a run on a new target is estimated from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, SPELLED_BOS, STORIES
from probes.engines.session_cache import forget_session
from probes.plugin.session import DEFAULT_TARGET
from probes.report.visible import make_visible
from probes.schema.claim import catalogue
from probes.schema.record import Cost, Record, Verdict
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

QUESTIONS = (SPELLED_BOS, "When did World War II end? ", "Who painted the Mona Lisa? ")
OTHER_CAPITALS = ("The capital of France is", "The capital of Germany is")
DEAREST = 10

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


def decide_claims(target: str, *options: str) -> tuple[Record, float]:
    """Decide every claim in this process; return the record, and the wall time in seconds.

    `options` are more of pytest's.

    Raises UserError if nothing was decided.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        code = pytest.main(
            [
                *("tests/claims", f"--target={target}", f"--report-dir={folder}"),
                f"--recorded-outputs={folder}/outputs",
                # What does not hold is named from the record.
                *("-p", "no:terminal", "-o", "addopts="),
                *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # probes is imported
                *options,
            ]
        )
        seconds = time.perf_counter() - start
        records = [*Path(folder).glob("*/*/record.json")]
        if not records:
            raise probes.UserError(f"no claim was decided: pytest ended with {int(code)}")
        return probes.read_record(records[0]), seconds


# --- what is printed -----------------------------------------------------------------------------


def format_cost(name: str, cost: Cost) -> str:
    return (
        f"{name:<40}{cost.seconds:>9.1f} s{cost.forward_passes:>9,} passes"
        f"{cost.rows:>9,} rows{cost.tokens:>11,} positions"
    )


def list_claims(record: Record) -> Iterator[str]:
    """Yield the claims that cost most seconds, then those that were not shown to hold."""
    claims = sorted(record.claims, key=lambda claim: claim.cost.seconds, reverse=True)
    total = record.cost.seconds or 1.0
    yield f"the dearest of {len(claims)} claims on {record.target.name}, sum of their checks"
    for claim in claims[:DEAREST]:
        name = f"{claim.id} ({claim.cost.seconds / total:.0%})"
        yield format_cost(f"  {name}", claim.cost)
    for claim in record.claims:
        if claim.verdict not in (Verdict.HOLDS, Verdict.NOT_APPLICABLE):
            word = (claim.verdict or Verdict.NOT_DECIDED).value
            yield make_visible(f"note: {word}: {claim.id}: {claim.reason}")
    if left := sum(claim.verdict is Verdict.NOT_APPLICABLE for claim in record.claims):
        yield f"note: {left} of {len(record.claims)} claims are not applicable"


def list_table() -> Iterator[str]:
    """Yield the lines of `probes/data/costs.toml`: claims of the catalogue that are decided."""
    yield "# What each claim takes on the embedded model: seconds in a run of all claims, as some"
    yield "# measurements are shared; seconds alone; token positions alone. Made by:"
    yield "# python -m tests.benchmarks.cost --table > probes/data/costs.toml"
    model = probes.load(DEFAULT_TARGET)
    model.generate(CAPITAL_OF_JAPAN)
    together, _ = decide_claims(DEFAULT_TARGET)
    for claim in together.claims:
        if claim.id in catalogue() and claim.verdict is not Verdict.NOT_APPLICABLE:
            forget_session(model)
            model.unload()
            model.generate(CAPITAL_OF_JAPAN)
            alone = decide_claims(DEFAULT_TARGET, "--claim", claim.id)[0].cost
            first, second = claim.cost.seconds, max(claim.cost.seconds, alone.seconds)
            yield f"{claim.id} = [{first:.2f}, {second:.2f}, {alone.tokens}]"


def compare(target: str, *, beams: bool) -> Iterator[str]:
    """Yield the lines of a comparison, each as soon as it is measured."""
    model = probes.load(target)
    model.generate(CAPITAL_OF_JAPAN)  # loads the model before anything is timed
    by_hand = measure(model, partial(call_by_hand, model))
    yield format_cost(f"{len(list_cells())} calls by hand", by_hand)
    for width in (1, 2, 4, 8) if beams else ():
        search = partial(model.generate, STORIES[0], do_sample=False, max_new_tokens=20)
        yield format_cost(f"{width} beams", measure(model, partial(search, num_beams=width)))
    record, wall = decide_claims(target)
    checks = sum(len(claim.evidence) for claim in record.claims)
    yield format_cost(f"every claim, sum of {checks} checks", record.cost)
    yield format_cost("every claim, wall time", Cost(seconds=wall)).partition(" s ")[0] + " s"
    ratios = (seconds / by_hand.seconds for seconds in (record.cost.seconds, wall))
    yield "ratio to by hand: {:.2f} of the checks, {:.2f} of the wall time".format(*ratios)
    yield from list_claims(record)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cost")
    parser.add_argument("--target", default=DEFAULT_TARGET, help="a name, a folder or a hub id")
    parser.add_argument("--beams", action="store_true", help="time beam searches, too")
    parser.add_argument("--record", type=Path, help="list the claims of this run, and measure none")
    parser.add_argument("--table", action="store_true", help="list what each claim takes, in TOML")
    options = parser.parse_args(arguments)
    try:
        if options.record is not None:
            lines = list_claims(probes.read_record(options.record))
        elif options.table:
            lines = list_table()
        else:
            lines = compare(options.target, beams=options.beams)
        for line in lines:
            print(line, flush=True)
    except probes.UserError as error:
        print(f"cost: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
