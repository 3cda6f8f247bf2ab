"""A bisection: decide a claim under one release after the other, and print what is found."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer
from packaging.version import InvalidVersion, Version

from probes.errors import UserError
from probes.report.text.phrases import format_duration
from probes.results.reading import read
from probes.upgrade.cells import Cell, Pin
from probes.upgrade.question import Finding, Question, find_claim, list_differences
from probes.upgrade.run import decide, find_attempts
from probes.upgrade.search import Answer, Side, search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.upgrade.run import Plan


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
    pins: tuple[Pin, ...]
    python: str
    findings: dict[str, Finding] = field(default_factory=dict)
    runs: dict[str, str | None] = field(default_factory=dict)

    def run(self, releases: Sequence[str], more: int) -> bool:
        """Search and print; return whether two neighbours were found and no answer contradicts."""
        good, bad = releases[0], releases[-1]
        typer.echo(
            f"{len(releases)} releases from {good} to {bad}; records: {self.plan.report_dir}"
        )
        for end in (good, bad):
            self.ask(end)
        self._check_ends(good, bad)

        def judge(release: str) -> Side:
            state = self.ask(release).state
            if state is None:
                return Side.SKIPPED
            return Side.GOOD if state == self.findings[good].state else Side.BAD

        answer = search(releases, judge, more)
        typer.echo("\n" + "\n".join(self._describe(answer, len(releases))))
        self._print_evidence(answer)
        return not answer.skipped and not answer.contradictions

    def ask(self, release: str) -> Finding:
        """Decide the claim under a release, print a line and return the answer."""
        start = time.monotonic()
        pin = Pin(package=self.package, version=release)
        cell = Cell(python=self.python, pins=(pin, *self.pins))
        known = find_attempts(self.plan, cell)
        (attempt,) = known or decide(self.plan, cell, show=lambda _: None).attempts
        if attempt.run is None:
            finding = Finding(None, f"{attempt.end.value}: {attempt.reason}")
        else:
            finding = self.question.answer(read(self.plan.report_dir / attempt.run))
        self.findings[release], self.runs[release] = finding, attempt.run
        source = ", from its record" if known else f" ({format_duration(time.monotonic() - start)})"
        typer.echo(f"{len(self.findings)}. {self.package} {release}: {finding.text}{source}")
        return finding

    def _check_ends(self, good: str, bad: str) -> None:
        for option, end in (("--good", good), ("--bad", bad)):
            if self.findings[end].state is None:
                raise UserError(
                    f"{option} {end} cannot be judged by {self.question.name}: "
                    f"{self.findings[end].text}"
                )
        holds = self.findings[good].state
        if holds == self.findings[bad].state:
            wrong = f"--bad {bad} is not bad"
            if not holds and not self.question.path:
                wrong = f"--good {good} is not good"
            what = "is on one side" if self.question.path else "has one verdict"
            raise UserError(
                f"{wrong}: {self.question.name} {what} at both ends: "
                f"{good}: {self.findings[good].text}; {bad}: {self.findings[bad].text}"
            )
        if not holds and not self.question.path:
            typer.echo(
                f"note: {self.question.claim} fails at the good end and holds at the bad one; "
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
        judged = sum(side is not Side.SKIPPED for side in answer.judged.values())
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

    def _print_evidence(self, answer: Answer) -> None:
        claims = []
        for release in (answer.last_good, answer.first_bad):
            folder = self.plan.report_dir / (self.runs[release] or "")
            typer.echo(f"record of {release}: {folder}")
            claims.append(find_claim(read(folder), self.question.claim))
        before, after = claims
        if before and after and (lines := list_differences(before, after)):
            typer.echo(f"evidence that differs, {answer.last_good} → {answer.first_bad}:")
            for line in lines:
                typer.echo(f"  {line}")
