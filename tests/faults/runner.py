"""Decides claims under each fault, all in one process, and writes down what came of them.

python -m tests.faults.runner [--all-claims] RESULTS.json [FAULT ...]

Decides the claims that a fault names, by the checks that are enough to see it; or all claims by
all checks, a minute a fault.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import probes
from probes.plugin.run import Message
from probes.plugin.session import DEFAULT_TARGET
from tests.faults.catalogue import CATALOGUE, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
ALL_CLAIMS = "--all-claims"

Verdicts = dict[str, dict[str, list[str]]]
"""For each claim the reasons of its checks, by verdict."""


class _Collector:
    """Takes down every check's verdict as it is reached."""

    def __init__(self) -> None:
        self.verdicts: Verdicts = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        text = getattr(report, "probes_message", None)
        message = None if text is None else Message.model_validate_json(text)
        if message is not None and message.check is not None:
            claim = self.verdicts.setdefault(message.claim, {})
            reason = f"{message.check.name}: {message.check.reason}"
            claim.setdefault(message.check.verdict.value, []).append(reason)


def decide(claims: Sequence[str], checks: str) -> Verdicts:
    """Decide claims as a user would, with nothing remembered of what went before."""
    collector = _Collector()
    arguments = [f"--rootdir={ROOT}", "-q", "-p", "no:cacheprovider", "--no-report", "-k", checks]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # this is no first import
    arguments += [part for claim in claims for part in ("--claim", claim)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        pytest.main([str(ROOT / "tests" / "claims"), *arguments], plugins=[collector])
    if not collector.verdicts:
        raise RuntimeError(f"nothing was decided:\n{output.getvalue()}")
    return collector.verdicts


def under(fault: Fault, *, all_claims: bool) -> Verdicts:
    """What the claims that a fault names, or all, come to while it lasts."""
    model = probes.load(DEFAULT_TARGET)
    model.unload()
    with fault.apply(model):
        verdicts = decide((), "") if all_claims else decide(fault.claims, fault.checks)
    model.unload()
    return verdicts


def main(*arguments: str) -> None:
    """Run the named faults, or all."""
    all_claims = ALL_CLAIMS in arguments
    results, *names = (each for each in arguments if each != ALL_CLAIMS)
    # A counterexample is enough: making it smaller takes longer than finding it.
    hypothesis.settings.register_profile(
        "faults", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("faults")
    found = {}
    for name in names or CATALOGUE:
        started = time.monotonic()
        found[name] = under(CATALOGUE[name], all_claims=all_claims)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    Path(results).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
