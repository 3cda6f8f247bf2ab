"""The matrix as a page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from probes.report.html.page import fill
from probes.results.reading import REPORT_FILE
from probes.upgrade.run import End
from probes.upgrade.table import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probes.upgrade.table import Column, Table


def render_matrix(tables: Sequence[Table], report_dir: Path, page: Path) -> str:
    """The page of a matrix: self-contained, every text escaped.

    Args:
        tables: one a target.
        report_dir: where the records lie.
        page: where the page is to lie; its links lead from there.
    """

    def link(column: Column) -> str | None:
        """Where a column's report lies, as seen from the page; None where there is none."""
        if column.attempt.run is None:
            return None
        report = report_dir / column.attempt.run / REPORT_FILE
        if not report.is_file():
            return None
        try:
            return quote(os.path.relpath(report, page.resolve().parent).replace(os.sep, "/"))
        except ValueError:  # another drive
            return None

    return fill(
        "matrix.html",
        tables=tables,
        link=link,
        statements=statements,
        ran=End.RAN,
        failed=sum(len(table.failed) for table in tables),
        surprises=sum(len(table.surprises) for table in tables),
        flips=sum(table.flips for table in tables),
    )
