"""The files that a report folder holds beside its records: pages of runs, and their list."""

from __future__ import annotations

from pathlib import Path

from probes._util.files import write_atomically
from probes.report.html.page import render, render_index
from probes.report.pictures.side_by_side import CLAIMS, lay_side_by_side
from probes.results.index import list_runs
from probes.results.newest import read_newest
from probes.results.reading import REPORT_FILE
from probes.schema.comparison import Comparison
from probes.schema.record import Record

INDEX_FILE = "index.html"


def write_report(
    record: Record,
    folder: Path,
    baseline: Comparison | None = None,
    last: Comparison | None = None,
    *,
    listed: bool = True,
) -> None:
    """Write a run's page into its folder and, if `listed`, its report folder's list of runs.

    The page shows the comparisons of the run with its `baseline` and with the `last` run.

    The folder is `REPORT-DIR/TARGET/UTC-TIME`. Raises OSError if a file cannot be written.
    """
    write_atomically(folder / REPORT_FILE, render(record, baseline, last))
    if listed:
        refresh_index(folder.parent.parent)


def refresh_index(report_dir: Path) -> None:
    """Write the list of runs to `index.html`.

    Two runs may end at once: each looks again after it has written, so the last to write has seen
    the other. Raises OSError if it cannot be written.
    """
    written = None
    while (runs := list_runs(report_dir)) != written:
        measured = read_newest(report_dir, runs, CLAIMS)
        write_atomically(report_dir / INDEX_FILE, render_index(runs, lay_side_by_side(measured)))
        written = runs
