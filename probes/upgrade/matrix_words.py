"""What a matrix comes to, in words: the same on the terminal and in Markdown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from probes.report.text.phrases import format_bytes as byte_size
from probes.report.text.phrases import format_counts as counted
from probes.report.text.phrases import format_duration as duration
from probes.report.text.phrases import format_verdict as verdict_word
from probes.upgrade.run import End
from probes.upgrade.table import BAD, Surprise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.upgrade.table import Column, Entry, Row, Table

ABSENT = "·"
"""Stands where a run did not have a claim."""


def said(entry: Entry) -> str:
    """One claim in one column: its verdict, and what is to be said of it.

    >>> from probes.upgrade.table import Entry
    >>> from probes.schema.record import Verdict
    >>> said(Entry(present=True, verdict=Verdict.HOLDS, flipped=True))
    'holds, flip'
    """
    if not entry.present:
        return ABSENT
    words = [verdict_word(entry.verdict)]
    if entry.surprise is not None:
        words.append(entry.surprise.value)
    elif entry.expectation is not None:
        words.append("expected")
    if entry.flipped and entry.surprise is not Surprise.FLIPPED:
        words.append("flip")
    return ", ".join(words)


def headline(tables: Sequence[Table]) -> str:
    """The whole in a sentence."""
    failed = sum(len(table.failed) for table in tables)
    surprises = sum(len(table.surprises) for table in tables)
    flips = sum(table.flips for table in tables)
    ran = "All cells ran" if not failed else f"{plural_of(failed, 'run')} did not come to the end"
    rest = f"{plural_of(surprises, 'unexpected verdict')}" if surprises else "nothing unexpected"
    return f"{ran}; {rest}; {plural_of(flips, 'flip')} from one column to the next."


def plural_of(number: int, noun: str) -> str:
    """A number with its noun.

    >>> plural_of(1, "flip"), plural_of(2, "flip")
    ('1 flip', '2 flips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def others(rows: Iterable[Row]) -> str:
    """The claims that no column decides otherwise, counted by verdict; empty if there are none."""
    counts = Counter(
        next(entry.verdict for entry in row.entries if entry.present)
        for row in rows
        if not row.told
    )
    return f"the same in every column: {counted(counts)}" if counts else ""


def ended(column: Column) -> str:
    """How a column's run ended, if not well."""
    attempt = column.attempt
    return (
        "" if attempt.end is End.RAN else f"{column.label}: {attempt.end.value}: {attempt.reason}"
    )


def reasons(table: Table) -> list[str]:
    """Why claims do not hold, a line each; alike ones of several columns together."""
    lines: list[str] = []
    for row in table.rows:
        if not row.told:
            continue
        found: dict[tuple[str, str], list[str]] = {}
        for column, entry in zip(table.columns, row.entries, strict=True):
            if entry.present and (entry.verdict in BAD or entry.reason):
                key = (verdict_word(entry.verdict), entry.reason)
                found.setdefault(key, []).append(column.label)
        lines += [
            f"{row.claim}: {verdict} with {'; '.join(labels)}: {reason}".removesuffix(": ")
            for (verdict, reason), labels in found.items()
        ]
    return lines


def made(column: Column) -> str:
    """A column's environment and run: sizes and times."""
    environment = column.outcome.made
    parts = []
    if environment is not None:
        large = byte_size(environment.downloaded) if environment.downloaded else "nothing"
        downloaded = f", large files downloaded: {large}"
        parts.append(
            f"environment {byte_size(environment.size)}"
            + (", there already" if environment.reused else downloaded)
            + f", made in {duration(environment.seconds)}" * (not environment.reused)
        )
    if seconds := sum(attempt.seconds for attempt in column.outcome.attempts):
        parts.append(f"claims decided in {duration(seconds)}")
    return "; ".join(parts)
