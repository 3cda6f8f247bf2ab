"""Verdicts side by side: versions across, claims down, and which of them are unexpected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from probes.errors import UserError
from probes.results.reading import read
from probes.schema.record import ClaimRecord, Record, Verdict, count_verdicts
from probes.upgrade.cells import find_varying, format_cell
from probes.upgrade.expected import Expectation, read_expectations
from probes.upgrade.question import find_claim
from probes.upgrade.run import Attempt, End, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BAD = (Verdict.FAILS, Verdict.ERROR, None)
"""Verdicts that are red unless they are expected; None is undecided."""


class Surprise(str, Enum):
    """Why an entry is red; the value is its key in the texts."""

    UNEXPECTED = "unexpected"
    """The claim fails, or ended without a verdict, and no verdict is expected."""
    NOT_AS_EXPECTED = "not_as_expected"
    """Another verdict is expected for these versions."""
    UNEXPECTED_FLIP = "unexpected_flip"
    """The verdict differs from the column before, and none is expected of either."""


@dataclass(frozen=True)
class Entry:
    """One claim in one column."""

    claim: ClaimRecord
    flipped: bool = False
    """Whether the verdict differs from that of the last column before that decided the claim."""
    expectation: Expectation | None = None
    surprise: Surprise | None = None
    """Why it is red; None if it is not."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What to say besides the verdict, as keys of the texts."""
        expected = "expected" if self.expectation else ""
        marks = [self.surprise.value if self.surprise else expected]
        marks += ["flip"] if self.flipped and self.surprise is not Surprise.UNEXPECTED_FLIP else []
        return tuple(filter(None, marks))


@dataclass(frozen=True)
class Column:
    """One cell's run on one target."""

    label: str
    """The versions that differ between the columns."""
    outcome: Outcome
    attempt: Attempt
    record: Record | None
    """None where nothing was decided."""

    @property
    def counts(self) -> Counter[Verdict | None]:
        """The number of claims by verdict."""
        return count_verdicts(self.record.claims) if self.record else Counter()


@dataclass(frozen=True)
class Row:
    """One claim over the columns."""

    claim: str
    entries: tuple[Entry | None, ...]
    """None where the run did not have the claim."""

    @property
    def is_notable(self) -> bool:
        """Whether the verdict differs between columns, or is bad in one."""
        verdicts = {entry.claim.verdict for entry in self.entries if entry}
        return len(verdicts) > 1 or bool(verdicts & {*BAD})


@dataclass(frozen=True)
class Table:
    """One target: its columns, and a row a claim."""

    target: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def failed(self) -> list[Column]:
        """The columns that did not run to their end."""
        return [column for column in self.columns if column.attempt.end is not End.RAN]

    @property
    def notable(self) -> list[Row]:
        """The rows that differ between columns, or are bad in one."""
        return [row for row in self.rows if row.is_notable]

    @property
    def surprises(self) -> int:
        """The number of unexpected entries."""
        return sum(bool(entry and entry.surprise) for row in self.rows for entry in row.entries)

    @property
    def flips(self) -> int:
        """The number of verdicts that differ from the column before."""
        return sum(bool(entry and entry.flipped) for row in self.rows for entry in row.entries)

    @property
    def is_green(self) -> bool:
        """Whether all columns ran and nothing is unexpected."""
        return not self.surprises and not self.failed

    @property
    def expectations(self) -> dict[Expectation, list[str]]:
        """What is expected of the notable rows, each with the claims here that it is about."""
        found: dict[Expectation, list[str]] = {}
        for row in self.notable:
            for expectation in dict.fromkeys(entry.expectation for entry in row.entries if entry):
                if expectation is not None:
                    found.setdefault(expectation, []).append(row.claim)
        return found


def build_tables(
    outcomes: Sequence[Outcome],
    report_dir: Path,
    expectations: Sequence[Expectation] | None = None,
) -> tuple[Table, ...]:
    """Build the tables of a matrix, one a target.

    Args:
        outcomes: The cells' outcomes, in the order of the columns.
        report_dir: The folder of their records.
        expectations: Expected verdicts; those of the package by default.
    """
    expectations = read_expectations() if expectations is None else expectations
    names = find_varying([outcome.cell for outcome in outcomes])
    found = []
    for number, target in enumerate(each.target for each in outcomes[0].attempts):
        columns = []
        for outcome in outcomes:
            attempt = outcome.attempts[number]
            record = _read_record(report_dir / attempt.run) if attempt.run else None
            columns.append(Column(format_cell(outcome.cell, names), outcome, attempt, record))
        records = [column.record for column in columns if column.record]
        # By the order of the newest column; a target without a record by its folder's name.
        claims = dict.fromkeys(claim.id for record in records[::-1] for claim in record.claims)
        name = records[0].target.name if records else target.replace("\\", "/").rpartition("/")[2]
        rows = [Row(claim, _build_entries(claim, columns, expectations)) for claim in claims]
        found.append(Table(name, tuple(columns), tuple(rows)))
    return tuple(found)


def _read_record(run: Path) -> Record | None:
    try:
        return read(run)
    except UserError:  # the run was stopped before it had written anything
        return None


def _build_entries(
    claim: str, columns: Sequence[Column], expectations: Sequence[Expectation]
) -> tuple[Entry | None, ...]:
    """Compare a claim in each column with the last column before that decided it."""
    entries: list[Entry | None] = []
    before: Entry | None = None
    for column in columns:
        entry = _build_entry(claim, column.record, before, expectations)
        entries.append(entry)
        if entry and entry.claim.verdict is not None:
            before = entry
    return tuple(entries)


def _build_entry(
    claim_id: str,
    record: Record | None,
    before: Entry | None,
    expectations: Sequence[Expectation],
) -> Entry | None:
    claim = find_claim(record, claim_id) if record else None
    if record is None or claim is None:
        return None
    expectation = next(
        (each for each in expectations if claim_id in each.claims and each.applies_to(record)), None
    )
    flipped = before is not None and claim.verdict not in (None, before.claim.verdict)
    surprise = None
    if expectation is not None:
        if claim.verdict is not expectation.verdict:
            surprise = Surprise.NOT_AS_EXPECTED
    elif claim.verdict in BAD:
        surprise = Surprise.UNEXPECTED
    elif flipped and before is not None and before.expectation is None:
        surprise = Surprise.UNEXPECTED_FLIP
    return Entry(claim, flipped, expectation, surprise)
