"""Verdicts side by side: versions across, claims down, and what is a surprise among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from probes.schema.record import ClaimRecord, Record, Verdict
from probes.upgrade.cells import Cell, label, varying
from probes.upgrade.expected import Expectation, expected
from probes.upgrade.run import Attempt, End, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BAD = (Verdict.FAILS, Verdict.ERROR, None)
"""Verdicts that are red unless they are expected; None is undecided."""


class Surprise(str, Enum):
    """Why an entry is red."""

    BAD = "unexpected"
    """It fails, or ended without a verdict, and nothing says that it would."""
    NOT_AS_EXPECTED = "not as expected"
    """Another verdict is stated for these versions: an unexpected pass, for instance."""
    FLIPPED = "unexpected flip"
    """It differs from the column before, and nothing is stated of either."""


@dataclass(frozen=True)
class Entry:
    """One claim in one column."""

    present: bool = False
    """Whether the run had the claim."""
    verdict: Verdict | None = None
    """What it came to."""
    reason: str = ""
    """Why, in a line."""
    flipped: bool = False
    """Whether the last column before that decided it came to another verdict."""
    expectation: Expectation | None = None
    """What is stated for these versions."""
    surprise: Surprise | None = None
    """Why it is red; None where it is not."""


@dataclass(frozen=True)
class Column:
    """One cell's run on one target."""

    cell: Cell
    label: str
    """What tells it from the others."""
    attempt: Attempt
    record: Record | None
    """What was decided; None where nothing was."""
    outcome: Outcome

    @property
    def counts(self) -> Counter[Verdict | None]:
        """How many claims came to each verdict."""
        return Counter(claim.verdict for claim in self.record.claims) if self.record else Counter()


@dataclass(frozen=True)
class Row:
    """One claim over the columns."""

    claim: str
    section: str
    title: str
    entries: tuple[Entry, ...]

    @property
    def differs(self) -> bool:
        """Whether its verdict is not the same in all columns that have it."""
        return len({entry.verdict for entry in self.entries if entry.present}) > 1

    @property
    def told(self) -> bool:
        """Whether it is worth a line where only changes and failures are shown."""
        return self.differs or any(e.present and e.verdict in BAD for e in self.entries)


@dataclass(frozen=True)
class Table:
    """One target: its columns, and a row a claim."""

    target: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def surprises(self) -> list[tuple[Row, Column, Entry]]:
        """What is red, claim by claim."""
        return [
            (row, column, entry)
            for row in self.rows
            for column, entry in zip(self.columns, row.entries, strict=True)
            if entry.surprise
        ]

    @property
    def failed(self) -> list[Column]:
        """The columns that did not run to their end."""
        return [column for column in self.columns if column.attempt.end is not End.RAN]

    @property
    def flips(self) -> int:
        """How many verdicts differ from the column before."""
        return sum(entry.flipped for row in self.rows for entry in row.entries)

    @property
    def green(self) -> bool:
        """Whether all ran, and nothing is a surprise."""
        return not self.surprises and not self.failed


def tables(
    outcomes: Sequence[Outcome],
    read: Callable[[str], Record | None],
    stated: tuple[Expectation, ...] | None = None,
) -> tuple[Table, ...]:
    """The tables of a matrix, one a target.

    Args:
        outcomes: what became of each cell, in the order of the columns.
        read: gives the record in a folder below the report folder, if there is one.
        stated: verdicts that are no surprise; those of the package unless given.
    """
    names = varying([outcome.cell for outcome in outcomes])
    targets = outcomes[0].asked.targets if outcomes else ()
    found = []
    for number in range(len(targets)):
        columns = []
        for outcome in outcomes:
            attempt = outcome.attempts[number]
            record = read(attempt.run) if attempt.run else None
            columns.append(
                Column(outcome.cell, label(outcome.cell, names), attempt, record, outcome)
            )
        found.append(Table(_name(targets[number], columns), tuple(columns), _rows(columns, stated)))
    return tuple(found)


def _name(asked: str, columns: Sequence[Column]) -> str:
    """A target's name as its records have it; a folder's last part where there is no record."""
    names = [column.record.target.name for column in columns if column.record]
    return names[0] if names else asked.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _rows(columns: Sequence[Column], stated: tuple[Expectation, ...] | None) -> tuple[Row, ...]:
    claims: dict[str, ClaimRecord] = {}
    for column in reversed(columns):  # in the newest one's order
        for claim in column.record.claims if column.record else ():
            claims.setdefault(claim.id, claim)
    return tuple(
        Row(claim.id, claim.section, claim.title, entries(claim.id, columns, stated))
        for claim in claims.values()
    )


def entries(
    claim: str, columns: Sequence[Column], stated: tuple[Expectation, ...] | None = None
) -> tuple[Entry, ...]:
    """One claim over the columns, each compared with the last before it that decided the claim."""
    found: list[Entry] = []
    before: Entry | None = None
    for column in columns:
        entry = _entry(claim, column, before, stated)
        found.append(entry)
        if entry.present and entry.verdict is not None:
            before = entry
    return tuple(found)


def _entry(
    claim: str,
    column: Column,
    before: Entry | None,
    stated: tuple[Expectation, ...] | None,
) -> Entry:
    claims = column.record.claims if column.record else ()
    found = next((each for each in claims if each.id == claim), None)
    if found is None or column.record is None:
        return Entry()
    expectation = expected(claim, column.record, stated)
    flipped = before is not None and found.verdict not in (None, before.verdict)
    return Entry(
        present=True,
        verdict=found.verdict,
        reason=found.reason,
        flipped=flipped,
        expectation=expectation,
        surprise=surprise(
            found.verdict,
            expectation,
            flipped=flipped and before is not None and before.expectation is None,
        ),
    )


def statements(rows: Sequence[Row]) -> dict[Expectation, list[str]]:
    """What is stated of the versions here, each with those of the claims that it is about."""
    found: dict[Expectation, dict[str, None]] = {}
    for row in rows:
        for entry in row.entries:
            if entry.expectation is not None:
                found.setdefault(entry.expectation, {})[row.claim] = None
    return {each: [*claims] for each, claims in found.items()}


def surprise(
    verdict: Verdict | None, expectation: Expectation | None, flipped: bool = False
) -> Surprise | None:
    """Why a verdict is red, if it is.

    Args:
        verdict: what the claim came to.
        expectation: what is stated for these versions, if anything.
        flipped: whether it differs from the column before, of which nothing is stated.

    >>> surprise(Verdict.FAILS, None), surprise(Verdict.HOLDS, None)
    (<Surprise.BAD: 'unexpected'>, None)
    """
    if expectation is not None:
        return None if verdict is expectation.verdict else Surprise.NOT_AS_EXPECTED
    if verdict in BAD:
        return Surprise.BAD
    return Surprise.FLIPPED if flipped else None
