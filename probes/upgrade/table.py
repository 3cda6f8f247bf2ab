"""Verdicts side by side: versions across, claims down, and which of them are unexpected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.compare.outcomes import is_near_the_line
from probes.errors import UserError
from probes.results.reading import read
from probes.schema.record import BROKEN, OPEN, ClaimRecord, Record, Verdict, count_verdicts
from probes.upgrade.cells import find_varying, format_cell
from probes.upgrade.expected import Expectation
from probes.upgrade.question import find_claim
from probes.upgrade.run import Attempt, End, Outcome

BAD = (*BROKEN, *OPEN)
"""Verdicts that are red unless they are expected."""

RED_MARKS = {"unexpected", "not_as_expected", "unexpected_flip"}
"""Marks of entries that are red."""


@dataclass(frozen=True)
class Entry:
    """One claim in one column."""

    claim: ClaimRecord
    expectation: Expectation | None
    marks: tuple[str, ...]
    """What to say besides the verdict, as keys of the texts `matrix.mark`."""

    @property
    def is_red(self) -> bool:
        """Whether it is unexpected."""
        return bool(RED_MARKS & {*self.marks})

    @property
    def is_flip(self) -> bool:
        """Whether the verdict differs from that of the last column before that decided it."""
        return bool({"flip", "unexpected_flip"} & {*self.marks})


@dataclass(frozen=True)
class Column:
    """One cell's run on one target."""

    label: str
    outcome: Outcome
    attempt: Attempt
    record: Record | None
    """None where nothing was decided."""

    @property
    def counts(self) -> Counter[Verdict]:
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
    def unexpected(self) -> int:
        """The number of unexpected entries."""
        return sum(bool(entry and entry.is_red) for row in self.rows for entry in row.entries)

    @property
    def flips(self) -> int:
        """The number of verdicts that differ from the column before."""
        return sum(bool(entry and entry.is_flip) for row in self.rows for entry in row.entries)

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
    outcomes: Sequence[Outcome], report_dir: Path, expectations: Sequence[Expectation]
) -> list[Table]:
    """Build the tables of a matrix, one a target, with the outcomes of its cells as columns."""
    names = find_varying([outcome.cell for outcome in outcomes])
    tables = []
    for attempts in zip(*(outcome.attempts for outcome in outcomes), strict=True):
        columns = tuple(
            Column(format_cell(outcome.cell, names), outcome, attempt, _read(report_dir, attempt))
            for outcome, attempt in zip(outcomes, attempts, strict=True)
        )
        records = [column.record for column in columns if column.record]
        # By the order of the newest column; a target without a record by its folder's name.
        claims = dict.fromkeys(claim.id for record in records[::-1] for claim in record.claims)
        name = records[0].target.name if records else re.split(r"[/\\]", attempts[0].target)[-1]
        rows = (Row(claim, _build_entries(claim, columns, expectations)) for claim in claims)
        tables.append(Table(name, columns, tuple(rows)))
    return tables


def _read(report_dir: Path, attempt: Attempt) -> Record | None:
    if attempt.run is None:
        return None
    try:
        return read(report_dir / attempt.run)
    except UserError:  # the run was stopped before it had written anything
        return None


def _build_entries(
    claim_id: str, columns: Sequence[Column], expectations: Sequence[Expectation]
) -> tuple[Entry | None, ...]:
    """Compare a claim in each column with the last column before that decided it."""
    entries: list[Entry | None] = []
    before: Entry | None = None
    for record in (column.record for column in columns):
        claim = find_claim(record, claim_id) if record else None
        if record is None or claim is None:
            entries.append(None)
            continue
        applying = (each for each in expectations if each.applies_to(claim_id, record))
        expectation = next(applying, None)
        entry = Entry(claim, expectation, _choose_marks(claim, expectation, before))
        entries.append(entry)
        if claim.verdict not in OPEN:
            before = entry
    return tuple(entries)


def _choose_marks(
    claim: ClaimRecord, expectation: Expectation | None, before: Entry | None
) -> tuple[str, ...]:
    verdict = claim.verdict
    is_flip = (
        before is not None
        and verdict not in (*OPEN, before.claim.verdict)
        and not is_near_the_line(before.claim, claim)
    )
    flip = ("flip",) if is_flip else ()
    if expectation is not None:
        return ("expected" if verdict is expectation.verdict else "not_as_expected", *flip)
    if verdict in BAD:
        return ("unexpected", *flip)
    if is_flip and before is not None and before.expectation is None:
        return ("unexpected_flip",)
    return flip
