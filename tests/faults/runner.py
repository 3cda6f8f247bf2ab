"""Decides claims under faults, all in one process.

python -m tests.faults.runner RESULTS.json

This writes the verdicts under every fault into a file: of the claims that the fault names, by the
checks that are enough to see it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import hypothesis
import pytest

import probes
from probes.data import questions
from probes.measure import greedy, knowledge, repetition, stories, variety
from probes.plugin.run import Message
from probes.plugin.session import DEFAULT_TARGET
from tests.faults.catalogue import CATALOGUE, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from tests.faults.conftest import Verdicts

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "tests" / "claims"

# What a user's run has and these do without: a cache, reports, garbage collection after each run,
# plugins that the claims do not use.
OPTIONS = [f"--rootdir={ROOT}", "-q", "--no-report", "-p", "no:cacheprovider"]
OPTIONS += ["-p", "probes.plugin", "--tb=no", "-p", "no:unraisableexception"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]


@contextlib.contextmanager
def few_samples() -> Iterator[None]:
    """Ask and draw little: enough to hold, and to see every fault, and quick."""
    load = questions.load_questions
    few = mock.patch.object(questions, "load_questions", lambda file: load(file)[:16])
    once = mock.patch.object(variety, "LOOKS", (1,))
    short = mock.patch.object(greedy, "SHARED_LENGTH", 20)
    shorter = mock.patch.object(repetition, "LENGTH", 40)
    narrow = mock.patch.multiple(knowledge, WIDTH=96, LOOKS=(1,))
    with few, once, short, shorter, narrow, shorten_stories():
        yield


@contextlib.contextmanager
def shorten_stories() -> Iterator[None]:
    """Let stories end after 12 tokens instead of 30."""
    with contextlib.ExitStack() as stack:
        for name in ("sample_grid", "run_greedily", "run_by_sampling"):
            short = partial(getattr(stories, name), length=12)
            stack.enter_context(mock.patch.object(stories, name, short))
        yield


class _Collector:
    def __init__(self) -> None:
        self.verdicts: Verdicts = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for text in getattr(report, "probes_messages", ()):
            message = Message.model_validate_json(text)
            if message.check is not None:
                claim = self.verdicts.setdefault(message.claim, {})
                reason = f"{message.check.name}: {message.check.reason}"
                claim.setdefault(message.check.verdict.value, []).append(reason)


def find_files(claims: Sequence[str]) -> list[str]:
    """Return the files of the built-in claims that name one of these, or the folder of all."""
    texts = {str(file): file.read_text(encoding="utf-8") for file in CLAIMS.glob("test_*.py")}
    found = [file for file, text in texts.items() if any(f'"{each}"' in text for each in claims)]
    return found or [str(CLAIMS)]


def run_alone(arguments: list[str], plugins: Sequence[object] = ()) -> None:
    """Run pytest in this process, with no plugin of others."""
    with mock.patch.dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"):
        pytest.main(arguments, plugins)


def decide(claims: Sequence[str], checks: str) -> Verdicts:
    """Decide claims as a user would, with nothing remembered of earlier runs."""
    collector = _Collector()
    named = [part for claim in claims for part in ("--claim", claim)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        run_alone([*find_files(claims), *OPTIONS, "-k", checks, *named], [collector])
    if not collector.verdicts:
        raise RuntimeError(f"nothing was decided:\n{output.getvalue()}")
    return collector.verdicts


def decide_under(fault: Fault, claims: Sequence[str]) -> Verdicts:
    """Decide claims that a fault names, or all if none is given, while it lasts."""
    model = probes.load(DEFAULT_TARGET)
    model.unload()
    with fault.apply(model):
        if not claims:
            verdicts = decide((), "")
        else:
            with few_samples():
                verdicts = decide(claims, fault.checks)
    model.unload()
    return verdicts


def answer(questions: Connection) -> None:
    """Answer names of faults, each with claims, with verdicts, until an empty name comes."""
    os.environ.pop("PYTEST_ADDOPTS", None)
    decide_in_haste()
    while (question := questions.recv())[0]:
        name, claims = question
        questions.send(decide_under(CATALOGUE[name], claims))


def decide_in_haste() -> None:
    """Let Hypothesis make no counterexample smaller: that takes longer than finding it."""
    hypothesis.settings.register_profile(
        "faults", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("faults")


def write_results(file: Path) -> None:
    found = {}
    for name, fault in CATALOGUE.items():
        started = time.monotonic()
        found[name] = decide_under(fault, fault.claims)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    decide_in_haste()
    write_results(Path(sys.argv[1]))
