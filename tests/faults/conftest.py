"""Runs the faults once a session, in a process of their own: what they break stays there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _pytest.terminal import TerminalReporter

ROOT = Path(__file__).parents[2]

Verdicts = dict[str, dict[str, list[str]]]


_RESULTS = pytest.StashKey[dict[str, Verdicts]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-claims",
        action="store_true",
        help="decide all claims under each fault, a minute each [those that should see it]",
    )


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """With -v: for each fault the claims that saw it, and what they found."""
    if config.option.verbose < 1:
        return
    for fault, claims in config.stash.get(_RESULTS, {}).items():
        terminalreporter.write_line("")
        terminalreporter.write_line(fault, bold=True)
        for claim, checks in claims.items():
            for reason in checks.get("fails", [])[:1]:
                terminalreporter.write_line(f"  {claim}: {' '.join(reason.split())[:200]}")


@pytest.fixture(scope="session")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Verdicts]:
    """What the claims came to under each fault that this run asks for."""
    file = tmp_path_factory.mktemp("faults") / "results.json"
    wanted = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and "results" in item.fixturenames
        and hasattr(item, "callspec")
    ]
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    # Where only a part of the tests is run, the option may not be known.
    everything = ["--all-claims"] * request.config.getoption("--all-claims", default=False)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.runner", *everything, str(file), *wanted],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    request.config.stash[_RESULTS] = found
    return found
