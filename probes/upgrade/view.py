"""A matrix for the terminal, as Markdown and as a page; and its progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from rich.table import Table as Grid
from rich.text import Text

from probes.report.locale import phrase
from probes.report.locale.markup import translate
from probes.report.text.console import create_console
from probes.report.text.markdown import escape
from probes.report.text.phrases import format_counts, format_duration, format_verdict
from probes.report.visible import make_visible
from probes.results.reading import REPORT_FILE
from probes.schema.record import Verdict, count_verdicts
from probes.upgrade.cells import find_varying
from probes.upgrade.run import End
from probes.upgrade.table import BAD, Column, Entry, Table

ABSENT = "·"
"""Shown where a run did not have a claim."""

# --- phrases -------------------------------------------------------------------------------------


def format_entry(entry: Entry | None) -> str:
    """Return the verdict and what to say of it, such as `holds, flip`."""
    if entry is None:
        return ABSENT
    marks = [phrase(f"matrix.mark.{mark}", "en") for mark in entry.marks]
    return ", ".join([format_verdict(entry.claim.verdict), *marks])


def format_headline(tables: Sequence[Table]) -> str:
    """Return the result of a matrix in two or three sentences."""
    return " ".join(phrase(f"matrix.{key}", "en", n=n) for key, n in count_results(tables))


def count_results(tables: Sequence[Table]) -> list[tuple[str, int]]:
    """Return the keys of the sentences on a matrix, the most important first, with numbers."""
    failed = sum(len(table.failed) for table in tables)
    unexpected = sum(table.unexpected for table in tables)
    bad = [each for each in (("failed", failed), ("unexpected", unexpected)) if each[1]]
    return [*(bad or [("green", 0)]), ("flips", sum(table.flips for table in tables))]


def format_same(table: Table, language: str = "en") -> str:
    """Return the number of claims, by verdict, that are the same in every column."""
    counts = count_verdicts(
        next(entry.claim for entry in row.entries if entry)
        for row in table.rows
        if not row.is_notable
    )
    said = format_counts(counts, language)
    return phrase("matrix.same", language, counts=said) if counts else ""


def format_cost(column: Column, language: str = "en") -> str:
    """Return the time that a column's environment and its run took."""
    parts = {"made": column.outcome.setup_seconds, "took": column.attempt.seconds}
    return " ".join(
        phrase(f"matrix.{key}", language, time=format_duration(seconds, language))
        for key, seconds in parts.items()
        if seconds
    )


def format_end(column: Column, language: str = "en") -> str:
    """Return how a column's run ended; an empty text if it ran to its end."""
    end = column.attempt.end
    return "" if end is End.RAN else phrase(f"matrix.end.{end.name.lower()}", language)


def list_reasons(table: Table) -> list[str]:
    """Return why columns did not run, then why claims do not hold, one line a reason."""
    lines = [
        f"{column.label}: {format_end(column)}: {column.attempt.reason}" for column in table.failed
    ]
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in table.notable:
        columns: dict[tuple[str, str], list[str]] = {}
        for column, entry in zip(table.columns, row.entries, strict=True):
            if entry and (entry.claim.verdict in BAD or entry.claim.reason):
                key = (format_verdict(entry.claim.verdict), entry.claim.reason)
                columns.setdefault(key, []).append(column.label)
        for (verdict, reason), labels in columns.items():
            found.setdefault((verdict, "; ".join(labels), reason), []).append(row.claim)
    lines += [
        f"{', '.join(claims)}: {verdict} with {labels}: {reason}".removesuffix(": ")
        for (verdict, labels, reason), claims in found.items()
    ]
    return lines


def _list_totals(table: Table) -> list[str]:
    return [
        format_counts(column.counts) if column.record else format_end(column)
        for column in table.columns
    ]


# --- the terminal --------------------------------------------------------------------------------


def render_text(
    tables: Sequence[Table], width: int = 120, colour: bool = False, whole: bool = False
) -> str:
    """Return the matrix as text for a terminal, with the claims that are the same if `whole`."""
    console = create_console(width, colour)
    with console.capture() as capture:
        for table in tables:
            console.print(_build_grid(table, whole))
            costs = [(column.label, format_cost(column)) for column in table.columns]
            lines = [format_same(table), *list_reasons(table)]
            lines += [f"{label}: {cost}" for label, cost in costs if cost]
            for line in filter(None, lines):
                console.print(Text(make_visible(line)), soft_wrap=True)
            console.print()
        console.print(Text(format_headline(tables)), soft_wrap=True)
    return capture.get()


def _build_grid(table: Table, whole: bool) -> Grid:
    grid = Grid(title=f"claims on {make_visible(table.target)}", title_justify="left")
    for heading in ("claim", *(column.label for column in table.columns)):
        grid.add_column(heading, overflow="fold")
    for row in table.rows if whole else table.notable:
        cells = (Text(format_entry(entry), style=_choose_style(entry)) for entry in row.entries)
        grid.add_row(row.claim, *cells)
    grid.add_section()
    grid.add_row("all", *_list_totals(table))
    return grid


def _choose_style(entry: Entry | None) -> str:
    if entry is None:
        return "dim"
    if entry.is_red:
        return "bold red"
    if entry.claim.verdict in BAD:
        return "yellow"
    return "green" if entry.claim.verdict is Verdict.HOLDS else "dim"


# --- Markdown ------------------------------------------------------------------------------------


def render_summary(tables: Sequence[Table], page: str) -> str:
    """Return the matrix in Markdown for the summary of a job; `page` is the path of its page."""
    parts = [f"## {escape(format_headline(tables))}"]
    for table in tables:
        parts += [f"### {escape(table.target)}", *_list_sections(table)]
    return "\n\n".join([*parts, f"Page: {escape(page)}"]) + "\n"


def render_releases(tables: Sequence[Table], command: str) -> str:
    """Return the page of what changed between releases, made by `command`, in Markdown."""
    parts = [
        "# What changed between releases",
        "Made by a command from the records of its runs ([how to read it](upgrades.md#a-matrix)):",
        f"```console\n$ {command}\n```",
        *_list_settings(tables[0].columns),
    ]
    for table in tables:
        parts += [f"## {escape(table.target)}", *_list_sections(table)]
    return "\n\n".join(parts) + "\n"


def _list_settings(columns: Sequence[Column]) -> list[str]:
    """Return in one sentence the versions that are the same in all columns, and the machines."""
    varying = find_varying([column.outcome.cell for column in columns])
    fixed = [
        f"{name} {version}".replace("python", "Python")
        for name, version in columns[0].outcome.cell.versions.items()
        if version and name not in varying
    ]
    environments = [column.record.environment for column in columns if column.record]
    machines = {f"{each.platform}, {each.accelerator or 'on a CPU'}" for each in environments}
    return [f"Decided with {', '.join([*fixed, *sorted(machines)])}."] if machines else []


def _list_sections(table: Table) -> list[str]:
    header = ["claim", *(escape(column.label) for column in table.columns)]
    rows = [[f"`{row.claim}`", *map(format_entry, row.entries)] for row in table.notable]
    lines = [header, ["---"] * len(header), *rows, ["all", *map(escape, _list_totals(table))]]
    expected = [
        f"{each.package} {each.versions}: {each.verdict.value}: {each.because} "
        f"({each.source}): {', '.join(claims)}"
        for each, claims in table.expectations.items()
    ]
    parts = [
        "\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        format_same(table),
        _format_list("What was found:", list_reasons(table)),
        _format_list("What was expected:", expected),
    ]
    return [part for part in parts if part]


def _format_list(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, "", *(f"- {escape(line)}" for line in lines)]) if lines else ""


# --- the page ------------------------------------------------------------------------------------


def render_page(tables: Sequence[Table], report_dir: Path, page: Path) -> str:
    """Return the matrix as a page; its links lead from its place `page` to the reports."""

    def link(column: Column) -> str | None:
        report = report_dir / (column.attempt.run or "") / REPORT_FILE
        if column.attempt.run is None or not report.is_file():
            return None
        try:
            return quote(os.path.relpath(report, page.resolve().parent).replace(os.sep, "/"))
        except ValueError:  # another drive
            return None

    from probes.report.html.page import fill  # templates take their time

    return fill(
        "matrix.html",
        tables=tables,
        results=count_results(tables),
        link=link,
        cost=translate(format_cost),
        end=translate(format_end),
        same=translate(format_same),
    )
