"""A bisection: decide a claim under one release after the other, and print what is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import typer
from packaging.version import InvalidVersion, Version

from probes.errors import UserError
from probes.report.text.phrases import format_duration
from probes.results.reading import read
from probes.upgrade.cells import Cell
from probes.upgrade.question import Finding, Question, find_claim, list_differences
from probes.upgrade.run import Plan, decide, find_attempts

# --- the search, which installs and runs nothing --------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The two releases between which the change lies."""

    last_good: str
    first_bad: str
    skipped: tuple[str, ...]
    """Releases between the two that could not be judged: the change may be in any of them."""
    judged: Mapping[str, bool | None]
    """By release, whether it is good; None where it could not be judged."""

    @property
    def contradictions(self) -> list[tuple[str, str]]:
        """Bad releases, each with the next good one beyond it: there is more than one change."""
        sides = [(name, good) for name, good in self.judged.items() if good is not None]
        return [
            (name, beyond)
            for (name, is_good), (beyond, is_next_good) in pairwise(sides)
            if is_next_good and not is_good
        ]


def search(releases: Sequence[str], is_good: Callable[[str], bool | None], more: int = 0) -> Answer:
    """Find where good turns bad, among releases from the good end to the bad one.

    Each end has been judged so already; `is_good` is called at most once for another, and returns
    None where it cannot tell. So many `more` are judged besides, in the widest gaps, to look for
    other changes.

    >>> answer = search("abcdef", lambda release: release < "d")
    >>> answer.last_good, answer.first_bad
    ('c', 'd')
    """
    low, high = 0, len(releases) - 1
    known: dict[int, bool | None] = {low: True, high: False}
    while between := [place for place in range(low + 1, high) if place not in known]:
        middle = (low + high) // 2
        place = min(between, key=lambda place: abs(place - middle))
        known[place] = good = is_good(releases[place])
        if good is not None:
            low, high = (place, high) if good else (low, place)
    for _ in range(min(more, len(releases) - len(known))):
        before, after = max(pairwise(sorted(known)), key=lambda gap: gap[1] - gap[0])
        place = (before + after) // 2
        known[place] = is_good(releases[place])
    return Answer(
        last_good=releases[low],
        first_bad=releases[high],
        skipped=tuple(releases[low + 1 : high]),
        judged={releases[place]: known[place] for place in sorted(known)},
    )


# --- releases and what is printed of them ---------------------------------------------------------


def parse_version(option: str, text: str) -> Version:
    """Parse the value of `--good` or `--bad`; anything but a version raises UserError."""
    try:
        return Version(text)
    except InvalidVersion:
        raise UserError(f"{option} {text!r} is no version; give one such as 5.0.0") from None


def select_between(
    offered: Sequence[Version], package: str, good: Version, bad: Version
) -> tuple[str, ...]:
    """Return the releases from the good end to the bad one, which may be the older.

    >>> offered = [Version(text) for text in ("1", "2", "3", "4")]
    >>> select_between(offered, "a", Version("3"), Version("1"))
    ('3', '2', '1')
    """
    for option, version in (("--good", good), ("--bad", bad)):
        if version not in offered:
            place = sorted([*offered, version]).index(version)
            nearest = " and ".join(map(str, offered[max(0, place - 1) : place + 1]))
            raise UserError(
                f"{option} {version}: no stable release of {package} that the index offers and "
                f"this Python can have; the nearest are {nearest}"
            )
    if good == bad:
        raise UserError(f"--good and --bad are both {good}: name two releases")
    low, high = sorted((good, bad))
    between = [str(version) for version in offered if low <= version <= high]
    return tuple(between if good < bad else between[::-1])


@dataclass
class Bisection:
    """The search for the release of a package at which an answer changes."""

    plan: Plan
    question: Question
    package: str
    fixed: Cell
    """What is the same in every environment: Python, and versions of other packages."""
    findings: dict[str, Finding] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    """Of the records, by release."""

    def run(self, releases: Sequence[str], more: int) -> bool:
        """Search and print; return whether two neighbours were found and no answer contradicts."""
        good, bad = releases[0], releases[-1]
        typer.echo(
            f"{len(releases)} releases from {good} to {bad}; records: {self.plan.report_dir}"
        )
        for end in (good, bad):
            self._ask(end)
        self._check_ends(good, bad)

        def is_good(release: str) -> bool | None:
            state = self._ask(release).state
            return None if state is None else state == self.findings[good].state

        answer = search(releases, is_good, more)
        for line in ("", *self._describe(answer, len(releases)), *self._list_evidence(answer)):
            typer.echo(line)
        return not answer.skipped and not answer.contradictions

    def _ask(self, release: str) -> Finding:
        """Decide the claim under a release, print a line and return the answer."""
        start = time.monotonic()
        packages = {self.package: release, **self.fixed.packages}
        cell = Cell(packages=packages, python=self.fixed.python)
        known = find_attempts(self.plan, cell)
        (attempt,) = known or decide(self.plan, cell, show=lambda _: None).attempts
        if attempt.run is None:
            finding = Finding(None, f"{attempt.end.value}: {attempt.reason}")
        else:
            self.folders[release] = self.plan.report_dir / attempt.run
            finding = self.question.answer(read(self.folders[release]))
        self.findings[release] = finding
        source = ", from its record" if known else f" ({format_duration(time.monotonic() - start)})"
        typer.echo(f"{len(self.findings)}. {self.package} {release}: {finding.text}{source}")
        return finding

    def _check_ends(self, good: str, bad: str) -> None:
        name, at_good, at_bad = self.question.name, self.findings[good], self.findings[bad]
        for option, end in (("--good", good), ("--bad", bad)):
            if self.findings[end].state is None:
                text = self.findings[end].text
                raise UserError(f"{option} {end} cannot be judged by {name}: {text}")
        is_claim = not self.question.path
        if at_good.state == at_bad.state:
            wrong = f"--bad {bad} is not bad"
            if is_claim and not at_good.state:
                wrong = f"--good {good} is not good"
            what = "has one verdict" if is_claim else "is on one side"
            raise UserError(
                f"{wrong}: {name} {what} at both ends: {good}: {at_good.text}; {bad}: {at_bad.text}"
            )
        if is_claim and not at_good.state:
            typer.echo(
                f"note: {name} fails at the good end and holds at the bad one; "
                "the search is for where that changed"
            )

    def _describe(self, answer: Answer, count: int) -> list[str]:
        name, good, bad = self.question.name, answer.last_good, answer.first_bad
        change = f"{name} changes between {self.package} {good} and {bad}."
        if answer.skipped:
            change = (
                f"{name} changes after {self.package} {good} and not later than {bad} on the way; "
                f"between them could not be judged: {', '.join(answer.skipped)}."
            )
        judged = sum(side is not None for side in answer.judged.values())
        rest = "." if judged == count else "; of the others nothing is known."
        last = (
            f"{judged} of the {count} releases from end to end were judged, and they show one "
            f"change alone{rest}"
        )
        if answer.contradictions:
            rest = "." if len(answer.judged) == count else "; --check-all finds all."
            others = [
                f"{one} is bad, and {two} beyond it good" for one, two in answer.contradictions
            ]
            last = (
                f"Not the only change: {'; '.join(others)}. The one named is the one that this "
                f"search met{rest}"
            )
        return [
            change,
            f"last good: {self.package} {good}: {self.findings[good].text}",
            f"first bad: {self.package} {bad}: {self.findings[bad].text}",
            last,
        ]

    def _list_evidence(self, answer: Answer) -> list[str]:
        ends = (answer.last_good, answer.first_bad)
        lines = [f"record of {release}: {self.folders[release]}" for release in ends]
        before, after = (find_claim(read(self.folders[each]), self.question.claim) for each in ends)
        if before and after and (differences := list_differences(before, after)):
            lines.append(f"evidence that differs, {answer.last_good} → {answer.first_bad}:")
            lines += [f"  {line}" for line in differences]
        return lines
