"""From the phases of a test to its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from traceback import format_exception_only
from typing import Literal

from probes._util.text import shorten
from probes.errors import BrokenModelError
from probes.schema.record import Verdict


@dataclass(frozen=True)
class Phase:
    """A test's setup, call or teardown.

    `reason` is why it was skipped, or why it failed where no exception was raised; `error` is the
    exception that ended it. `xfail` is why its author expects it to fail, or None.
    """

    when: str
    outcome: Literal["passed", "failed", "skipped"]
    seconds: float = 0.0
    reason: str = ""
    error: BaseException | None = None
    is_assertion: bool = False
    xfail: str | None = None


LONGEST_REASON = 2_000
"""Characters of a reason that are kept: it may quote what a model wrote."""

NOT_RUN = "[NOTRUN] "
"""How pytest marks a test that is expected to fail and therefore not run."""


def decide(phases: Sequence[Phase], *, expected: bool = True) -> tuple[Verdict, str]:
    """Return the verdict and its reason: a failure counts before a skip.

    What is not `expected` of the target is not observed instead of failing; a model that is broken,
    which nothing can be observed of, is an error then.

    >>> decide([Phase("setup", "passed"), Phase("call", "skipped", reason="no BOS")])
    (<Verdict.NOT_APPLICABLE: 'not applicable'>, 'no BOS')
    """
    failed = [_failed(phase, expected) for phase in phases if phase.outcome == "failed"]
    if failed:
        return next((each for each in failed if each[0] is not Verdict.NOT_OBSERVED), failed[0])
    for phase in phases:
        if phase.outcome == "skipped":
            return _skipped(phase, expected)
    return Verdict.HOLDS, ""


def without_marks(phases: Sequence[Phase]) -> list[Phase]:
    """Return phases that were expected to fail as what they are: failures, or out of date."""
    return [
        phase if phase.xfail is None else replace(phase, outcome="failed", xfail=None)
        for phase in phases
    ]


def seconds(phases: Sequence[Phase]) -> float:
    """Return how long the test took, with fixtures that it was the first to need.

    >>> seconds([Phase("setup", "passed", 2.0), Phase("call", "passed", 1.0)])
    3.0
    """
    return sum(phase.seconds for phase in phases if phase.when != "teardown")


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, however deep; of an exception that is no group itself.

    >>> [str(leaf) for leaf in leaves(KeyError("x"))]
    ["'x'"]
    """
    # By the attribute, as Python 3.10 has groups only from a package.
    parts = getattr(error, "exceptions", None)
    if not isinstance(parts, tuple):
        yield error
        return
    for part in parts:
        yield from leaves(part)


def _failed(phase: Phase, expected: bool) -> tuple[Verdict, str]:
    if phase.error is None:  # an author's expectation that it fails did not come true
        return Verdict.ERROR, phase.reason
    # An assertion outside the test itself is an error, unless it is the model that is broken.
    broken = all(isinstance(leaf, BrokenModelError) for leaf in leaves(phase.error))
    asserted = phase.is_assertion and phase.when == "call"
    if expected:
        verdict = Verdict.FAILS if broken or asserted else Verdict.ERROR
    else:
        verdict = Verdict.NOT_OBSERVED if asserted and not broken else Verdict.ERROR
    return verdict, describe_error(phase.error)


def _skipped(phase: Phase, expected: bool) -> tuple[Verdict, str]:
    if phase.xfail is None:
        return Verdict.NOT_APPLICABLE, phase.reason
    if phase.xfail.startswith(NOT_RUN):
        return Verdict.NOT_APPLICABLE, f"not run: {phase.xfail.removeprefix(NOT_RUN)}"
    why = phase.xfail.removeprefix("reason: ")
    verdict = Verdict.FAILS if expected else Verdict.NOT_OBSERVED
    return verdict, f"expected to fail: {why}" if why else "expected to fail"


def describe_error(error: BaseException) -> str:
    """Return an exception's message, its type before it unless that is a failed assertion.

    >>> describe_error(AssertionError("the default is not greedy"))
    'the default is not greedy'
    """
    return shorten("\n".join(_describe_leaf(leaf) for leaf in leaves(error)), LONGEST_REASON)


def _describe_leaf(error: BaseException) -> str:
    text = "".join(format_exception_only(type(error), error)).strip()
    if isinstance(error, AssertionError):
        kind, _, message = text.partition(": ")
        return message or kind
    return text.removeprefix("Failed: ")
