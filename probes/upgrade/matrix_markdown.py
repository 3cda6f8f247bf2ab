"""The matrix in Markdown: a summary for a job, and the page of what changed between releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.report.text.markdown import escape as literal
from probes.report.text.phrases import format_counts as counted
from probes.upgrade import matrix_words as words
from probes.upgrade.cells import varying
from probes.upgrade.table import statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.upgrade.table import Column, Row, Table


def summary(tables: Sequence[Table], report: str = "") -> str:
    """The matrix for the summary of a job.

    Args:
        tables: one a target.
        report: where its page lies, as it is to be shown; empty where there is none.
    """
    parts = [f"## {literal(words.headline(tables))}"]
    for table in tables:
        parts.append(f"### {literal(table.target)}")
        parts += _about(table)
    parts.append(f"Page: {literal(report)}" if report else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def page(tables: Sequence[Table], command: str) -> str:
    """The page of what changed between releases.

    Args:
        tables: one a target.
        command: what made it.
    """
    parts = [
        "# What changed between releases",
        "This page is made by a command from the records of its runs; it is not written by hand:",
        f"```console\n$ {command}\n```",
        "How to read it: [one matrix of versions](matrix.md). A *flip* is a verdict that differs "
        "from the column before. *Expected* is a verdict that "
        "`probes/upgrade/expected.toml` states for these versions, with its source.",
    ]
    if tables:
        parts.append(_setting(tables[0].columns))
    for table in tables:
        parts.append(f"## {literal(table.target)}")
        parts += _about(table)
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(columns: Sequence[Column]) -> str:
    """What is the same in all columns."""
    records = [column.record for column in columns if column.record]
    differing = varying([column.cell for column in columns])
    settings = {
        f"{record.environment.platform}, {record.environment.accelerator or 'on a CPU'}"
        for record in records
    }
    pins = [
        str(pin).replace("==", " ")
        for pin in columns[0].cell.pins
        if pin.package not in differing and pin.version
    ]
    python = [] if "python" in differing else [f"Python {columns[0].cell.python}"]
    return f"Decided with {', '.join([*pins, *python, *sorted(settings)])}." if records else ""


def _about(table: Table) -> list[str]:
    """What differs as a table, then why."""
    told = [row for row in table.rows if row.told]
    header = ["claim", *(literal(column.label) for column in table.columns)]
    rows = [[f"`{row.claim}`", *map(words.said, row.entries)] for row in told]
    totals = [
        literal(counted(column.counts) if column.record else column.attempt.end.value)
        for column in table.columns
    ]
    lines = [header, ["---"] * len(header), *rows, ["all", *totals]]
    lists = [*filter(None, map(words.ended, table.columns)), *words.reasons(table)]
    same = words.others(table.rows)
    return [
        "\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        f"{same[:1].upper()}{same[1:]}." if same else "",
        _listed("What was found:", lists),
        _listed("What was expected:", _stated(told)),
    ]


def _stated(rows: Sequence[Row]) -> list[str]:
    """What is stated of some versions, each statement with the claims here that it is about."""
    return [
        f"{each.package} {each.versions}: {each.verdict.value}: {each.because} "
        f"({each.source}): {', '.join(claims)}"
        for each, claims in statements(rows).items()
    ]


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, "", *(f"- {literal(line)}" for line in lines)]) if lines else ""
