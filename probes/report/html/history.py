"""The verdicts of each claim over a target's last runs, so that a verdict that flips is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probes.results.index import Run
from probes.schema.record import OPEN, Verdict

MOST_RUNS = 12


@dataclass(frozen=True)
class Cell:
    """One claim in one run."""

    is_present: bool
    verdict: Verdict | None
    has_changed: bool
    """Whether the last run before that decided it gave another verdict."""


@dataclass(frozen=True)
class History:
    """A target's last runs, the oldest first, and its claims, those that changed first."""

    runs: list[Run]
    rows: dict[str, list[Cell]]
    changes: int
    """Number of claims whose verdict changed."""


def history(runs: Sequence[Run]) -> History:
    """Return the last runs of one target, claim by claim; `runs` has the newest first."""
    last = [run for run in runs if run.readable][:MOST_RUNS][::-1]
    claims = dict.fromkeys(claim for run in reversed(last) for claim in run.verdicts)
    rows = {claim: _cells(claim, last) for claim in claims}
    changed = [claim for claim in claims if any(cell.has_changed for cell in rows[claim])]
    return History(last, {claim: rows[claim] for claim in [*changed, *claims]}, len(changed))


def _cells(claim: str, runs: Sequence[Run]) -> list[Cell]:
    cells: list[Cell] = []
    before: Verdict | None = None
    for run in runs:
        verdict = run.verdicts.get(claim)
        is_open = verdict in OPEN
        has_changed = before is not None and not is_open and verdict != before
        cells.append(Cell(claim in run.verdicts, verdict, has_changed))
        before = before if is_open else verdict
    return cells
