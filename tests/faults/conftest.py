"""Decides claims under faults in a process of its own: what a fault breaks stays there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes import Model

ROOT = Path(__file__).parents[2]

Verdicts = dict[str, dict[str, list[str]]]
"""For each claim the reasons of its checks, by verdict."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-claims",
        action="store_true",
        help="decide all claims under each fault, a minute each [those that should see it]",
    )

    parser.addoption(
        "--all-faults",
        action="store_true",
        help="try every fault, not just one for each claim [one for each claim]",
    )


@pytest.fixture(scope="session")
def all_claims(request: pytest.FixtureRequest) -> bool:
    """Whether all claims are decided; the option is unknown where only other tests are run."""
    return bool(request.config.getoption("--all-claims", default=False))


@pytest.fixture(scope="session")
def decide_under(all_claims: bool) -> Iterator[Callable[[str], Verdicts]]:
    """Decide the claims that a fault names, in one process for the whole session."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.runner", *(["--all-claims"] if all_claims else [])],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def decide(fault: str) -> Verdicts:
        questions.write(f"{fault}\n")
        questions.flush()
        answer = answers.readline()
        assert answer, f"the process that decides claims under faults died of {fault!r}"
        verdicts: Verdicts = json.loads(answer)
        return verdicts

    yield decide
    with process:
        questions.close()


@pytest.fixture
def own_model() -> Model:
    """The embedded model, loaded for one test to break."""
    import probes
    from probes.targets.preflight import preflight
    from probes.targets.resolve import resolve

    return probes.Model(preflight(resolve("embedded")))
