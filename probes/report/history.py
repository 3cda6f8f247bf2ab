"""What became of each claim over a target's last runs, so that a verdict that flips is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.results.index import Run
    from probes.schema.record import Verdict

LAST = 12
"""Runs that are looked back over."""


@dataclass(frozen=True)
class Cell:
    """One claim in one run."""

    present: bool = False
    """Whether the run had the claim."""
    verdict: Verdict | None = None
    """What it came to; None where it was left undecided."""
    changed: bool = False
    """Whether it was decided otherwise in the run before that decided it."""


@dataclass(frozen=True)
class Row:
    """One claim over the runs, the oldest first."""

    claim: str
    cells: tuple[Cell, ...]

    @property
    def changes(self) -> bool:
        """Whether its verdict changed in these runs."""
        return any(cell.changed for cell in self.cells)


@dataclass(frozen=True)
class History:
    """A target's last runs, the oldest first, and its claims, those that changed first."""

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]

    @property
    def changed(self) -> int:
        """How many claims changed their verdict."""
        return sum(row.changes for row in self.rows)


def history(runs: Sequence[Run]) -> History:
    """The last runs of one target, given the newest first, claim by claim."""
    last = tuple(run for run in runs if run.readable)[:LAST][::-1]
    claims = dict.fromkeys(claim for run in reversed(last) for claim in run.verdicts)
    rows = [Row(claim, _cells(claim, last)) for claim in claims]
    return History(last, tuple(sorted(rows, key=lambda row: not row.changes)))


def _cells(claim: str, runs: Sequence[Run]) -> tuple[Cell, ...]:
    cells, before = [], None
    for run in runs:
        verdict = run.verdicts.get(claim)
        changed = None not in (before, verdict) and verdict != before
        cells.append(Cell(claim in run.verdicts, verdict, changed))
        before = verdict or before
    return tuple(cells)
