"""The command line: one verb a task. Nothing here needs torch.

A user's mistake ends any verb with exit 2 and one line on standard error.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperCommand

from probes._util.files import write_output
from probes._util.version import __version__
from probes.compare.last_run import compare_with_last
from probes.errors import UserError
from probes.results.reading import RECORD_FILE, REPORT_FILE, locate, read
from probes.schema.comparison import Comparison, parse_outcomes
from probes.schema.record import build_json_schema
from probes.upgrade.commands import bisect, matrix
from probes.upgrade.options import File, option

CHANGED = 1
"""Exit code where two runs differ in what counts."""

UNUSABLE_INPUT = 2
"""Exit code for input that cannot be used, as for a wrong command line."""

A_RUN = "a record.json or a folder"

app = typer.Typer(
    help="Reports on what a causal language model and its libraries do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on the arguments after its name; the process's own unless given.

    It always raises SystemExit: 0, 1 where runs differ or something is unexpected, 2 where input
    cannot be used.
    """
    try:
        app(arguments, prog_name="probes")
    except UserError as error:
        typer.echo(f"probes: {error}", err=True)
        sys.exit(UNUSABLE_INPUT)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"probes {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reports on what a causal language model and its libraries do."""


@dataclass(frozen=True)
class _Completion:
    """A word that a shell offers, in the form that typer formats."""

    value: str
    help: str | None = None
    type: str = "plain"


class _RunCommand(TyperCommand):
    """`probes run`, whose options are pytest's: typer knows none of them."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the options that begin with `incomplete`, for a shell."""
        from probes.plugin.options import list_options  # pytest takes its time

        own = [
            _Completion(name, text)
            for name, text in list_options().items()
            if name.startswith(incomplete)
        ]
        return [*super().shell_complete(ctx, incomplete), *own]


def _complete_value(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return values of the option before, or names of targets; else the shell offers files."""
    from probes.schema.claim import catalogue
    from probes.targets.resolve import list_targets

    before = ctx.params.get("arguments") or []
    is_claim = before[-1:] == ["--claim"]
    known = [*catalogue()] if is_claim else [*list_targets(project=Path.cwd())]
    return [name for name in known if name.startswith(incomplete)]


@app.command(
    "run",
    cls=_RunCommand,
    context_settings={"ignore_unknown_options": True},
    short_help="Decide the claims on a target; write a record and a report.",
)
def run_claims(
    arguments: Annotated[
        list[str] | None,
        Argument(
            metavar="TARGET|PYTEST-OPTION",
            help="What to decide the claims on [embedded], and any options of pytest.",
            autocompletion=_complete_value,
        ),
    ] = None,
) -> None:
    """Decide the claims from any folder, and write a record and a report; exit codes are pytest's.

    No pytest.ini and no conftest.py of the folder is read. `pytest --help` lists the options.
    """
    from probes.plugin.launch import run  # pytest takes its time

    raise typer.Exit(run(options=arguments or []).exit_code)


@app.command("report", short_help="Write the HTML report of a run again.")
def report(
    run: Annotated[
        Path,
        Argument(
            metavar="RUN", help="A record.json, a run's folder, or a target's (its latest run)."
        ),
    ],
    output: Annotated[
        File, option("FILE", "Where to write. [default: beside the record]", "--output", "-o")
    ] = None,
    summary: Annotated[File, option("FILE", "Write a summary in Markdown, too.")] = None,
) -> None:
    """Write the HTML report of a run and print its path; a stopped run is marked incomplete."""
    from probes.report.html.page import render  # templates take their time
    from probes.report.text.markdown import summarize_run
    from probes.report.text.phrases import format_incomplete

    record, file = read(run), locate(run).absolute()
    path = output or locate(run).with_name(REPORT_FILE)
    found = compare_with_last(record, file.parent) if file.name == RECORD_FILE else None
    last = None if found is None else found.comparison
    write_output(path, render(record, last=last), "report", "--output")
    if summary is not None:
        write_output(summary, summarize_run(record, str(path)), "summary", "--summary")
    _list_again(path)
    if missing := format_incomplete(record):
        typer.echo(f"probes: {missing}", err=True)
    typer.echo(path)


def _list_again(report_file: Path) -> None:
    from probes.report.files import INDEX_FILE, refresh_index

    report_dir = report_file.absolute().parent.parent.parent
    if (report_dir / INDEX_FILE).is_file():
        with suppress(OSError):  # the report is written; its list can wait for the next run
            refresh_index(report_dir)


@app.command("compare", short_help="Say what changed between two runs.")
def compare(
    old: Annotated[Path, Argument(metavar="OLD", help=f"The run trusted: {A_RUN}.")],
    new: Annotated[Path, Argument(metavar="NEW", help=f"The run in question: {A_RUN}.")],
    html: Annotated[File, option("FILE", "Write the comparison as a page.")] = None,
    summary: Annotated[File, option("FILE", "Write it in Markdown.")] = None,
    as_json: Annotated[File, option("FILE", "Write it as JSON.", "--json")] = None,
    fail_on: Annotated[
        str | None,
        option(
            "OUTCOMES",
            "What counts as a change, with commas: newly-failing, changed, drifted, fixed, "
            "added, removed, not-comparable; any, or none. [default: any]",
        ),
    ] = None,
    across_targets: Annotated[
        bool, Option("--across-targets", help="Allow runs on two targets.")
    ] = False,
) -> None:
    """Say what changed between two runs: exit 0 nothing, 1 something, 2 unusable input."""
    from probes.compare.records import compare as compared  # scipy takes its time
    from probes.report.html.page import render_comparison
    from probes.report.text.console import format_comparison
    from probes.report.text.markdown import summarize_comparison

    counted = parse_outcomes(fail_on)
    found = compared(read(old), read(new), across_targets=across_targets)
    for path, text, what, name in (
        (html, render_comparison, "page", "--html"),
        (summary, summarize_comparison, "summary", "--summary"),
        (as_json, _as_json, "JSON file", "--json"),
    ):
        if path is not None:
            write_output(path, text(found), what, name)
    colour = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns
    typer.echo(format_comparison(found, width, colour), nl=False)
    if found.outcomes & counted:
        raise typer.Exit(CHANGED)


def _as_json(comparison: Comparison) -> str:
    return comparison.model_dump_json(indent=1) + "\n"


app.command("matrix", short_help="Decide the claims under many versions of libraries.")(matrix)
app.command("bisect", short_help="Find the release of a package that changed a verdict.")(bisect)


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of record.json."""
    typer.echo(json.dumps(build_json_schema(), indent=2, ensure_ascii=False))


@app.command("claims")
def print_claims(
    markdown: Annotated[
        bool, Option("--markdown", help="As a page, as docs/claims.md has it.")
    ] = False,
) -> None:
    """Print the built-in claims: id and statement, by section."""
    from probes.report.text.catalogue import catalogue_list, catalogue_page

    typer.echo(catalogue_page() if markdown else catalogue_list(), nl=False)
