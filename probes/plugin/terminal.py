"""What a run shows on the terminal, besides what pytest itself shows."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes._util.version import __version__
from probes.plugin import options, watch, workers
from probes.plugin.recordings import list_orphans
from probes.plugin.session import session_of
from probes.plugin.summary import (
    format_annotations,
    format_own_settings,
    format_run,
    format_tokens,
    has_decided,
)
from probes.report.locale import phrase
from probes.report.pictures import list_missing_packages
from probes.report.text.console import format_comparison
from probes.report.text.since import describe_since, has_changed
from probes.report.visible import make_visible
from probes.results.reading import REPORT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _pytest.terminal import TerminalReporter

    from probes.compare.last_run import SinceLast
    from probes.plugin.run import Run
    from probes.schema.record import Record


NEXT_STEP = pytest.StashKey[str]()
"""A line for the end of a run, of a user who may not know how to go on."""


def name_status(
    report: pytest.TestReport | pytest.CollectReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Return category, letter and word of a test that did not observe what it states."""
    if not getattr(report, "probes_not_observed", False):
        return None
    return "not observed", "o", ("NOT OBSERVED", {"yellow": True})


@contextmanager
def show_step(config: pytest.Config, what: str) -> Iterator[None]:
    """Show a step that takes long, and the libraries' own progress bars."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if terminal is None:  # in a worker
        yield
        return
    disabled = capture.global_and_fixture_disabled() if capture else nullcontext()
    with watch.pause(config), disabled:
        terminal.write_line(f"\n{what} ...")
        start = time.perf_counter()
        yield
        terminal.write_line(f"{what}: done in {time.perf_counter() - start:.0f} s")


def header(config: pytest.Config) -> list[str]:
    """Return the targets, and the memory that several workers take, as lines."""
    session, count = session_of(config), workers.workers_to_start(config)
    lines = [f"probes {__version__}: target {', '.join(session.targets)}"]
    sizes = [
        f"{count} × {size / 1e6:,.0f} MB of {name}"
        for name, size in session.weight_bytes.items()
        if size  # an endpoint's are not on this machine
    ]
    if count and sizes:
        lines.append(f"every worker loads the weights it needs: up to {', '.join(sizes)}")
    return lines


def report_path(config: pytest.Config, run: Run, record: Record) -> str:
    """Return a report's path, short where it is below the current folder; empty without one."""
    folder = run.folders.get(record.target.name)
    return "" if folder is None else _shorten(folder / REPORT_FILE, config.invocation_params.dir)


def _shorten(path: Path, here: Path) -> str:
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def show_results(
    terminal: TerminalReporter, run: Run, *, refusal: Sequence[str], stopped_by: str
) -> None:
    """Show verdicts, comparisons and reports, then why anything is missing.

    `refusal` and `stopped_by` say what ended the run early; empty if nothing did.
    """
    for record in run.records:
        _show_record(terminal, run, record)
    for name in run.uncompared():
        line = f"not compared with its baseline: {name}, on which no claim was decided"
        terminal.write_line(line, red=True)
    if run.records and not has_decided(run.records):
        terminal.write_line("no claim was decided", red=True)
    for line in refusal:
        terminal.write_line(f"ERROR: {line}", red=True)
    if refusal:
        return
    if stopped_by and not all(record.complete for record in run.records):
        line = f"stopped by {stopped_by}: what was decided before is kept; run it again"
        terminal.write_line(f"{line} for the rest", red=True)
    for line in session_of(terminal.config).left_out.values():
        terminal.write_line(f"left out: {line}", yellow=True)
    line = terminal.config.stash.get(NEXT_STEP, "")
    if line and run.records and terminal.config.option.verbose >= 0:
        terminal.write_line(line)
    folder = options.recorded_outputs(terminal.config)
    for file in list_orphans(folder):
        terminal.write_line(f"unused: {file.relative_to(folder)}: its test is gone; delete it")


def _show_since(terminal: TerminalReporter, last: SinceLast, folder: Path) -> None:
    """Show what changed since the last run, and how to see it in full."""
    if last.note:
        terminal.write_line(make_visible(last.note), yellow=True)
    if last.comparison is None or last.folder is None:
        return
    changed = has_changed(last.comparison)
    terminal.write_line(make_visible(describe_since(last.comparison)), yellow=changed)
    if changed:
        here = terminal.config.invocation_params.dir
        paths = (shlex.quote(_shorten(path, here)) for path in (last.folder, folder))
        terminal.write_line(phrase("since.in_full", command=f"probes compare {' '.join(paths)}"))


def _show_record(terminal: TerminalReporter, run: Run, record: Record) -> None:
    width, colour = terminal._tw.fullwidth, terminal.hasmarkup
    terminal.write_line("")
    terminal.write(format_run(record, width, colour=colour))
    if os.environ.get(options.JOB) == "true":
        for line in format_annotations(record):
            terminal.write_line(line)
    if terminal.config.option.verbose >= 0 and (line := format_own_settings(record)):
        terminal.write_line(line)
    if terminal.config.option.verbose >= 0 and (line := format_tokens(record)):
        terminal.write_line(line)
    if comparison := run.comparisons.get(record.target.name):
        terminal.write_line(phrase("compare.from_baseline"))
        terminal.write(format_comparison(comparison, width, colour=colour))
    if last := run.since_last.get(record.target.name):
        _show_since(terminal, last, run.folders[record.target.name])
    if report := report_path(terminal.config, run, record):
        terminal.write_line(f"report: {report}")
        if needed := list_missing_packages():
            draw_again = f"probes report {shlex.quote(str(Path(report).parent))}"
            install = f"python -m pip install {' '.join(needed)}"
            terminal.write_line(f"it has no charts; for them: {install} && {draw_again}")
