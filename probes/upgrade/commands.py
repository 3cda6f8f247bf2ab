"""The commands `probes matrix` and `probes bisect`.

What only a command's work needs is imported in it: each `probes --help` imports this module.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from packaging.utils import canonicalize_name
from typer import Argument, Option

from probes._util.files import check_output, write_output
from probes.errors import UserError
from probes.upgrade import ray
from probes.upgrade.cells import LATEST, Cell, Versions, combine, parse_pythons, parse_versions
from probes.upgrade.options import File, Shared, Texts, option, with_shared_options
from probes.upgrade.question import Question, parse_measure
from probes.upgrade.run import End, Outcome, Plan, find_attempts, interruptible

PAGE_FILE = "matrix.html"


@with_shared_options
def matrix(
    *,
    target: Annotated[
        Texts,
        option("NAME|FOLDER|HUB-ID", "What to decide claims on; repeatable. [default: embedded]"),
    ] = None,
    claim: Annotated[
        Texts, option("ID", "Decide this claim alone; repeatable. [default: all]")
    ] = None,
    jobs: Annotated[
        int | None, option("N", "Cells at once. [default: what memory allows]", min=1)
    ] = None,
    on: Annotated[
        str | None, option("ray|ray://ADDRESS", "Run cells on a Ray cluster. [default: here]")
    ] = None,
    num_cpus: Annotated[float, option("N", "CPUs a cell, on Ray.", min=0)] = 1,
    num_gpus: Annotated[float, option("N", "GPUs a cell, on Ray.", min=0)] = 0,
    resume: Annotated[
        bool, Option("--resume", help="Keep what the report folder holds decided.")
    ] = False,
    html: Annotated[
        File, option("FILE", f"The page. [default: {PAGE_FILE}, beside the records]")
    ] = None,
    summary: Annotated[File, option("FILE", "Write a summary in Markdown, too.")] = None,
    page: Annotated[File, option("FILE", "Write a page such as docs/releases.md, too.")] = None,
    whole: Annotated[
        bool, Option("--whole", help="Show claims that are the same in every column, too.")
    ] = False,
    shared: Shared,
) -> None:
    """Decide the claims under many combinations of library versions, each in an environment."""
    from probes.upgrade import ray, view
    from probes.upgrade.expected import read_expectations
    from probes.upgrade.table import build_tables

    packages = [parse_versions(text) for text in shared.packages or ()]
    if not packages:
        raise UserError(
            "nothing to combine: name versions, as in --with transformers==5.0.0,latest"
        )
    resources = ray.Resources(ray.parse_address(on), num_cpus, num_gpus, jobs) if on else None
    plan = shared.make_plan("matrix", target or ["embedded"], claim or [], resume)
    for name, file in (("html", html), ("summary", summary), ("page", page)):
        if file is not None:
            check_output(file, name.replace("html", "page"), f"--{name}")
    pythons = parse_pythons(shared.python)
    cells = combine([_resolve_latest(*each, pythons[0], shared) for each in packages], pythons)
    outcomes = _decide(plan, cells, jobs, resources)
    tables = build_tables(outcomes, plan.report_dir, read_expectations())
    html = html or plan.report_dir / PAGE_FILE
    write_output(html, view.render_page(tables, plan.report_dir, html), "page", "--html")
    if summary is not None:
        write_output(summary, view.render_summary(tables, str(html)), "summary", "--summary")
    if page is not None:
        command = _format_command(shared.packages or [], claim or [], plan, page)
        write_output(page, view.render_releases(tables, command), "page", "--page")
    width = shutil.get_terminal_size((120, 24)).columns
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    typer.echo(view.render_text(tables, width, colour, whole), nl=False)
    typer.echo(f"page: {html}")
    if any(table.failed or table.unexpected for table in tables):
        raise typer.Exit(1)


@with_shared_options
def bisect(
    *,
    package: Annotated[str, Argument(metavar="PACKAGE", help="Whose releases to search.")],
    good: Annotated[str, option("VERSION", "A release that is as it should be.")],
    bad: Annotated[str, option("VERSION", "A release that is not; older or newer.")],
    claim: Annotated[str | None, option("ID", "The claim whose verdict counts.")] = None,
    measure: Annotated[
        str | None,
        option(
            "CLAIM.KEY", "A number of a claim's evidence that counts instead: CLAIM[CHECK].KEY.KEY."
        ),
    ] = None,
    threshold: Annotated[float | None, option("X", "The good end says which side is good.")] = None,
    target: Annotated[
        str, option("NAME|FOLDER|HUB-ID", "What to decide the claim on.")
    ] = "embedded",
    more: Annotated[int, option("N", "Releases judged besides, in the widest gaps.", min=0)] = 2,
    check_all: Annotated[
        bool, Option("--check-all", help="Judge every release between the ends.")
    ] = False,
    fresh: Annotated[
        bool, Option("--fresh", help="Ignore the records of an earlier search.")
    ] = False,
    shared: Shared,
) -> None:
    """Find the release of a package at which a claim, or a number of its evidence, changed."""
    from probes.upgrade.bisection import Bisection, parse_version, select_between

    question = _read_question(claim, measure, threshold)
    ends = parse_version("--good", good), parse_version("--bad", bad)
    one_python, *more_pythons = parse_pythons(shared.python)
    if more_pythons:
        raise UserError(f"--python {shared.python!r}: a bisection takes one version")
    name = canonicalize_name(package)
    others = [_parse_exact_version(text, name) for text in shared.packages or ()]
    (fixed,) = combine(others, [one_python])
    plan = shared.make_plan("bisect", [target], [question.claim], resume=not fresh)
    releases = select_between(shared.list_releases(name, one_python), name, *ends)
    bisection = Bisection(plan, question, name, fixed)
    with interruptible():
        if not bisection.run(releases, len(releases) if check_all else more):
            raise typer.Exit(1)


def _resolve_latest(package: str, versions: Sequence[str], python: str, shared: Shared) -> Versions:
    """Return a package and its versions, with the newest release instead of `latest`."""
    exact = [
        str(shared.list_releases(package, python)[-1]) if version == LATEST else version
        for version in versions
    ]
    return package, tuple(dict.fromkeys(exact))


def _decide(
    plan: Plan, cells: Sequence[Cell], jobs: int | None, resources: ray.Resources | None
) -> list[Outcome]:
    """Decide the cells that are not yet known, and show the progress on standard error."""
    from probes.report.text.phrases import format_duration
    from probes.upgrade import pool, ray

    known = {
        cell.name: Outcome(cell=cell, attempts=attempts)
        for cell in cells
        if len(attempts := find_attempts(plan, cell)) == len(plan.targets)
    }
    waiting = [cell for cell in cells if cell.name not in known]
    start = time.monotonic()

    def show(cell: Cell, stage: str) -> None:
        typer.echo(f"{cell.name}: {stage}", err=True)

    with interruptible():
        if resources is not None:
            outcomes = ray.decide_all(plan, waiting, resources, show)
        else:
            outcomes = pool.decide_all(plan, waiting, jobs, show)
        for done, outcome in enumerate(outcomes, start=1):
            known[outcome.cell.name] = outcome
            ends = [attempt.end for attempt in outcome.attempts]
            worst = next((end for end in ends if end is not End.RAN), End.RAN)
            passed = format_duration(time.monotonic() - start)
            show(outcome.cell, f"{worst.value} ({done} of {len(waiting)}, {passed})")
    return [known[cell.name] for cell in cells]


def _read_question(claim: str | None, measure: str | None, threshold: float | None) -> Question:
    if claim is not None and measure is None:
        if threshold is not None:
            raise UserError("--threshold goes with --measure; a claim's verdict needs none")
        return Question(claim)
    if measure is not None and claim is None:
        if threshold is None:
            raise UserError(f"--measure {measure}: say with --threshold what to hold it against")
        return parse_measure(measure, threshold)
    raise UserError("name what counts: --claim ID, or --measure CLAIM.KEY with --threshold X")


def _parse_exact_version(text: str, bisected: str) -> Versions:
    package, versions = parse_versions(text)
    if len(versions) > 1 or LATEST in versions or package == bisected:
        raise UserError(
            f"--with {text!r}: a bisection takes one exact version of each other package"
        )
    return package, versions


def _format_command(packages: Sequence[str], claims: Sequence[str], plan: Plan, page: Path) -> str:
    """Return the command as a page shows it: without options that concern only this machine."""
    targets = [
        f"path/to/{Path(target).name}" if Path(target).is_dir() else target
        for target in plan.targets
    ]
    options = [("--with", packages), ("--target", targets), ("--claim", claims)]
    words = [word for option, values in options for value in values for word in (option, value)]
    file = page.name if page.is_absolute() else page.as_posix()
    return shlex.join(["probes", "matrix", *words, "--page", file])
