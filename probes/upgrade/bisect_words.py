"""What a bisection found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.errors import UserError
from probes.upgrade.search import Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.version import Version

    from probes.upgrade.question import Finding, Question
    from probes.upgrade.search import Answer


def stretch(
    offered: Sequence[Version], package: str, good: Version, bad: Version
) -> tuple[str, ...]:
    """The releases from the good end to the bad one, newest last or first as the ends say.

    >>> from packaging.version import Version
    >>> some = [Version(text) for text in ("1", "2", "3", "4")]
    >>> stretch(some, "a", Version("3"), Version("1"))
    ('3', '2', '1')

    Raises:
        UserError: An end is not offered, or both are the same.
    """
    for option, version in (("--good", good), ("--bad", bad)):
        if version not in offered:
            near = sorted([*offered, version]).index(version)
            nearest = " and ".join(str(each) for each in offered[max(0, near - 1) : near + 1])
            raise UserError(
                f"{option} {version}: no stable release of {package} that the index offers and "
                f"this Python can have; the nearest are {nearest}"
            )
    if good == bad:
        raise UserError(f"--good and --bad are both {good}: name two releases")
    low, high = sorted((good, bad))
    between = [str(version) for version in offered if low <= version <= high]
    return tuple(between if good < bad else between[::-1])


def ends_differ(question: Question, good: str, bad: str, findings: Mapping[str, Finding]) -> str:
    """A note on the ends; empty where there is nothing to note.

    Raises:
        UserError: An end cannot be judged, or both are the same.
    """
    for option, version in (("--good", good), ("--bad", bad)):
        if findings[version].state is None:
            raise UserError(
                f"{option} {version} cannot be judged by {question}: {findings[version].said}"
            )
    if findings[good].state == findings[bad].state:
        wrong = f"--good {good} is not good"
        if question.path or findings[good].state:
            wrong = f"--bad {bad} is not bad"
        raise UserError(
            f"{wrong}: the ends are alike, {question.named} {_is(question)} "
            f"{good}: {findings[good].said}; {bad}: {findings[bad].said}"
        )
    if not question.path and not findings[good].state:
        return (
            f"note: {question.claim} fails at the good end and holds at the bad one; "
            "the search is for where that changed"
        )
    return ""


def _is(question: Question) -> str:
    return "is on one side at both:" if question.path else "has one verdict at both:"


def conclusion(
    package: str,
    question: Question,
    answer: Answer,
    findings: Mapping[str, Finding],
    between: int,
) -> list[str]:
    """The final sentences.

    Args:
        package: whose releases were bisected.
        question: what was asked.
        answer: what was found.
        findings: by release, what it answered.
        between: how many releases there are from one end to the other, both counted.
    """
    good, bad = answer.last_good, answer.first_bad
    lines = [f"{question.named} changes between {package} {good} and {bad}."]
    if answer.skipped:
        lines = [
            f"{question.named} changes after {package} {good} and not later than {bad} on the way; "
            f"between them could not be judged: {', '.join(answer.skipped)}."
        ]
    lines += [
        f"last good: {package} {good}: {findings[good].said}",
        f"first bad: {package} {bad}: {findings[bad].said}",
    ]
    tried = sum(side is not Side.SKIPPED for side in answer.judged.values())
    if answer.contradictions:
        pairs = "; ".join(f"{a} is bad, and {b} beyond it good" for a, b in answer.contradictions)
        lines.append(
            f"Not the only change: {pairs}. The one named is the one that this search met"
            + ("." if len(answer.judged) == between else "; --check-all finds all.")
        )
    else:
        lines.append(
            f"{tried} of the {between} releases from end to end were judged, and they show one "
            "change alone" + ("." if tried == between else "; of the others nothing is known.")
        )
    return lines
