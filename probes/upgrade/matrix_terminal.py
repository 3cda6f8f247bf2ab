"""The matrix on the terminal: a table a target, and progress while cells are decided."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from probes.report.text.console import create_console as console_of
from probes.report.text.phrases import format_counts as counted
from probes.report.text.phrases import format_duration as duration
from probes.report.visible import make_visible as visible
from probes.schema.record import Verdict
from probes.upgrade import matrix_words as words
from probes.upgrade.run import End
from probes.upgrade.table import BAD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from probes.upgrade.run import Job, Outcome
    from probes.upgrade.table import Entry, Table


def shown(
    tables: Sequence[Table], width: int = 120, colour: bool = False, whole: bool = False
) -> str:
    """The tables as text.

    Args:
        tables: one a target.
        width: columns of the terminal.
        colour: whether to colour verdicts with terminal codes.
        whole: whether to show claims that are the same in every column, too.
    """
    console = console_of(width, colour)
    with console.capture() as capture:
        for table in tables:
            console.print(_grid(table, whole=whole))
            lines = [words.others(table.rows), *map(words.ended, table.columns)]
            lines += words.reasons(table)
            for line in filter(None, lines):
                console.print(Text(visible(line)), soft_wrap=True)
            console.print()
        if tables:
            for column in tables[0].columns:
                console.print(Text(f"{column.label}: {words.made(column)}"), soft_wrap=True)
            console.print(Text(words.headline(tables)), soft_wrap=True)
    return capture.get()


def _grid(table: Table, whole: bool) -> Grid:
    grid = Grid(title=f"claims on {visible(table.target)}", title_justify="left")
    grid.add_column("claim", overflow="fold")
    for column in table.columns:
        grid.add_column(column.label, overflow="fold")
    for row in table.rows:
        if row.told or whole:
            grid.add_row(row.claim, *map(_shown, row.entries))
    grid.add_section()
    totals = [
        counted(column.counts) if column.record else column.attempt.end.value
        for column in table.columns
    ]
    grid.add_row("all", *totals)
    return grid


def _shown(entry: Entry) -> Text:
    return Text(words.said(entry), style=_style(entry))


def _style(entry: Entry) -> str:
    if not entry.present:
        return "dim"
    if entry.surprise is not None:
        return "bold red"
    if entry.verdict in BAD:
        return "yellow"
    return "green" if entry.verdict is Verdict.HOLDS else "dim"


class Watch:
    """Tells what is going on: a bar on a terminal, a line an event elsewhere."""

    def __init__(self, cells: int) -> None:
        """For so many cells."""
        self._console = Console(file=sys.stderr, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("cells", total=cells)
        self._stages: dict[str, str] = {}
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Watch:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def tell(self, job: Job, stage: str) -> None:
        """A cell begins something."""
        name = job.cell.name
        self._begun.setdefault(name, time.monotonic())
        self._stages[name] = stage
        self._describe()
        if not self._console.is_terminal:
            self._line(f"{name}: {stage}")

    def done(self, job: Job, outcome: Outcome) -> None:
        """A cell is decided."""
        name = job.cell.name
        self._stages.pop(name, None)
        took = time.monotonic() - self._begun.get(name, time.monotonic())
        ends = [attempt.end for attempt in outcome.attempts]
        word = next((end for end in ends if end is not End.RAN), End.RAN)
        self._line(f"{name}: {word.value} ({duration(took)})")
        self._bar.advance(self._task)
        self._describe()

    def _line(self, text: str) -> None:
        self._bar.console.print(Text(text), soft_wrap=True)

    def _describe(self) -> None:
        stages = [f"{name}: {stage}" for name, stage in self._stages.items()]
        self._bar.update(self._task, description="; ".join(stages) or "cells")
