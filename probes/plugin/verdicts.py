"""From what happened to one test to the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from traceback import format_exception_only
from typing import TYPE_CHECKING, Literal

from probes._util.text import shorten
from probes.errors import BrokenModelError
from probes.schema.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Phase:
    """A test's setup, call or teardown.

    Attributes:
        when: which of the three.
        outcome: what the test runner says came of it.
        seconds: how long it took.
        reason: why it was skipped, or why it failed where no exception was raised.
        error: the exception that ended it.
        stated: whether that exception is an assertion, not a mishap.
        expected: why its author expects it to fail; None where that is not so.
    """

    when: str
    outcome: Literal["passed", "failed", "skipped"]
    seconds: float = 0.0
    reason: str = ""
    error: BaseException | None = None
    stated: bool = False
    expected: str | None = None


LONGEST_REASON = 2_000
"""Characters of a reason that are kept: it may quote what a model wrote."""

NOT_RUN = "[NOTRUN] "
"""How pytest marks a test that is expected to fail and therefore not run."""


def verdict(phases: Sequence[Phase]) -> tuple[Verdict, str]:
    """What a test's phases amount to, with the reason: a failure counts before a skip.

    >>> verdict([Phase("setup", "passed"), Phase("call", "skipped", reason="no BOS")])
    (<Verdict.NOT_APPLICABLE: 'not applicable'>, 'no BOS')
    >>> verdict([Phase("setup", "failed", error=OSError("disk full"))])
    (<Verdict.ERROR: 'error'>, 'OSError: disk full')
    """
    for phase in phases:
        if phase.outcome == "failed":
            return _failed(phase)
    for phase in phases:
        if phase.outcome == "skipped":
            return _skipped(phase)
    return Verdict.HOLDS, ""


def seconds(phases: Sequence[Phase]) -> float:
    """How long the test itself took, without what was set up and taken down around it."""
    return max((phase.seconds for phase in phases if phase.when == "call"), default=0.0)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, however deep; an exception that is no group is its only leaf.

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


def _failed(phase: Phase) -> tuple[Verdict, str]:
    if phase.error is None:  # an author's expectation that it fails did not come true
        return Verdict.ERROR, phase.reason
    # An assertion outside the test itself is a mishap, unless it is the model that is broken.
    broken = all(isinstance(leaf, BrokenModelError) for leaf in leaves(phase.error))
    failed = broken or (phase.stated and phase.when == "call")
    return (Verdict.FAILS if failed else Verdict.ERROR), in_words(phase.error)


def _skipped(phase: Phase) -> tuple[Verdict, str]:
    if phase.expected is None:
        return Verdict.NOT_APPLICABLE, phase.reason
    if phase.expected.startswith(NOT_RUN):
        return Verdict.NOT_APPLICABLE, f"not run: {phase.expected.removeprefix(NOT_RUN)}"
    why = phase.expected.removeprefix("reason: ")
    return Verdict.FAILS, f"expected to fail: {why}" if why else "expected to fail"


def in_words(error: BaseException) -> str:
    """An exception's message, its kind before it unless that is a failed assertion.

    >>> in_words(AssertionError("the default is not greedy"))
    'the default is not greedy'
    """
    return shorten("\n".join(_one_in_words(leaf) for leaf in leaves(error)), LONGEST_REASON)


def _one_in_words(error: BaseException) -> str:
    words = "".join(format_exception_only(type(error), error)).strip()
    if isinstance(error, AssertionError):
        kind, _, message = words.partition(": ")
        return message or kind
    return words.removeprefix("Failed: ")
