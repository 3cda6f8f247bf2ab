"""The command `probes matrix`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probes._util.files import check_output, write_output
from probes.errors import UserError, did_you_mean
from probes.results.reading import read
from probes.schema.claim import catalogue
from probes.targets.resolve import resolve
from probes.upgrade import matrix_markdown as markdown
from probes.upgrade import matrix_terminal as terminal
from probes.upgrade import pool
from probes.upgrade.cells import LATEST, combine, pythons, resolved, wanted
from probes.upgrade.environments import Sources, default_folder, find_uv
from probes.upgrade.matrix_page import render_matrix
from probes.upgrade.releases import indexes, releases
from probes.upgrade.run import (
    Asked,
    Job,
    decided_before,
    in_full,
    interruptible,
    project_folder,
)
from probes.upgrade.table import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.schema.record import Record
    from probes.upgrade.cells import Pin
    from probes.upgrade.run import Outcome

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python of this process."""

REPORT_DIR = Path("reports") / "matrix"
PAGE_FILE = "matrix.html"

# What matrix and bisect take alike.
TARGETS = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME|FOLDER|HUB-ID",
        help="What to decide claims on; repeatable. [default: embedded]",
    ),
]
TARGETS_FILE = Annotated[
    Path | None,
    typer.Option("--targets-file", metavar="FILE", help="TOML file with targets of your own."),
]
CLAIMS = Annotated[
    list[str] | None,
    typer.Option(
        "--claim", metavar="ID", help="Decide this claim alone; repeatable. [default: all]"
    ),
]
WITH = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="PACKAGE==VERSION,…",
        help="Versions of a package, `latest` among them; a name alone is any version; repeatable.",
    ),
]
FIND_LINKS = Annotated[
    list[str] | None,
    typer.Option(
        "--find-links", metavar="FOLDER|URL", help="Passed on to uv; repeatable. [default: none]"
    ),
]
INDEX_URL = Annotated[
    str | None,
    typer.Option("--index-url", metavar="URL", help="Passed on to uv. [default: uv's own]"),
]
EXTRA_INDEX_URL = Annotated[
    list[str] | None,
    typer.Option("--extra-index-url", metavar="URL", help="Passed on to uv; repeatable."),
]
TORCH_BACKEND = Annotated[
    str | None,
    typer.Option("--torch-backend", metavar="NAME", help="Passed on to uv: cpu, auto and others."),
]
ENVIRONMENTS = Annotated[
    Path | None,
    typer.Option(
        "--environments",
        metavar="FOLDER",
        help="Where environments are kept. [default: in the user's cache]",
    ),
]
TIMEOUT = Annotated[
    float,
    typer.Option("--timeout", metavar="MINUTES", min=0.01, help="Ends a target's run after that."),
]


def matrix(
    packages: WITH = None,
    python: Annotated[
        str, typer.Option("--python", metavar="VERSION,…", help="Versions of Python.")
    ] = HERE,
    target: TARGETS = None,
    targets_file: TARGETS_FILE = None,
    claim: CLAIMS = None,
    find_links: FIND_LINKS = None,
    index_url: INDEX_URL = None,
    extra_index_url: EXTRA_INDEX_URL = None,
    torch_backend: TORCH_BACKEND = None,
    environments: ENVIRONMENTS = None,
    timeout: TIMEOUT = 60,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", metavar="N", min=1, help="Cells at once. [default: what memory allows]"
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="ray|ray://ADDRESS", help="Run cells on a Ray cluster. [default: here]"
        ),
    ] = None,
    num_cpus: Annotated[
        float, typer.Option("--num-cpus", metavar="N", min=0, help="CPUs a cell, on Ray.")
    ] = 1,
    num_gpus: Annotated[
        float, typer.Option("--num-gpus", metavar="N", min=0, help="GPUs a cell, on Ray.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take over what the report folder holds decided.")
    ] = False,
    report_dir: Annotated[
        Path, typer.Option("--report-dir", metavar="FOLDER", help="Where records are written.")
    ] = REPORT_DIR,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help=f"The page. [default: {PAGE_FILE}, beside the records]"
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Write a summary in Markdown, too."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Write a page as docs/releases.md is, too."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Show claims that are the same in every column, too.")
    ] = False,
) -> None:
    """Decide the claims under many combinations of library versions, each in an environment."""
    sources = given_sources(find_links, index_url, extra_index_url, torch_backend)
    pins = [wanted(text) for text in packages or ()]
    if not pins:
        raise UserError(
            "nothing to combine: name versions, as in --with transformers==5.0.0,latest"
        )
    asked = given(target, claim, targets_file)
    project = project_folder()
    find_uv()
    files = ((html, "page", "--html"), (summary, "summary", "--summary"), (page, "page", "--page"))
    for file, what, option in files:
        if file is not None:
            check_output(file, what, option)
    versions = pythons(python)
    cells = combine([_exact(each, versions[0], sources) for each in pins], versions)
    folder = report_dir.resolve()
    all_jobs = [
        Job(
            cell=cell,
            asked=asked,
            project=project,
            environments=(environments or default_folder()).resolve(),
            report_dir=folder,
            sources=sources,
            timeout=timeout * 60,
            resume=resume,
        )
        for cell in cells
    ]
    known = {job.cell: outcome for job in all_jobs if resume and (outcome := decided_before(job))}
    waiting = [job for job in all_jobs if job.cell not in known]
    with interruptible(), terminal.Watch(len(waiting)) as watch:
        run = _runner(on, num_cpus, num_gpus, jobs, waiting, watch)
        for job, outcome in run:
            known[job.cell] = outcome
            watch.done(job, outcome)
    found = tables([known[cell] for cell in cells], partial(_record, folder))
    page_file = html or folder / PAGE_FILE
    write_output(page_file, render_matrix(found, folder, page_file), "page", "--html")
    if summary is not None:
        write_output(summary, markdown.summary(found, str(page_file)), "summary", "--summary")
    if page is not None:
        write_output(
            page, markdown.page(found, _own_command(packages or [], asked)), "page", "--page"
        )
    width = shutil.get_terminal_size((120, 24)).columns
    typer.echo(terminal.shown(found, width, colour=_colour(), whole=whole), nl=False)
    typer.echo(f"page: {page_file}")
    if not all(table.green for table in found):
        raise typer.Exit(1)


def _runner(
    on: str | None,
    num_cpus: float,
    num_gpus: float,
    jobs: int | None,
    waiting: Sequence[Job],
    watch: terminal.Watch,
) -> Iterator[tuple[Job, Outcome]]:
    if on is None:
        return pool.run(waiting, jobs or pool.jobs_here(len(waiting)), watch.tell)
    from probes.upgrade import ray as cluster

    address = cluster.address(on)
    wanted = cluster.Resources(num_cpus, num_gpus, at_once=jobs)
    return cluster.run(waiting, address, wanted, watch.tell)


def given_sources(
    find_links: Sequence[str] | None,
    index_url: str | None,
    extra_index_url: Sequence[str] | None,
    torch_backend: str | None,
) -> Sources:
    """Where uv is to look, from the options; folders in full.

    Raises:
        UserError: A folder is not there.
    """
    links = []
    for link in find_links or ():
        if "://" not in link and not Path(link).is_dir():
            raise UserError(f"no folder '{link}': --find-links takes a folder of wheels, or a URL")
        links.append(link if "://" in link else str(Path(link).resolve()))
    return Sources(
        find_links=tuple(links),
        index_url=index_url,
        extra_index_url=tuple(extra_index_url or ()),
        torch_backend=torch_backend,
    )


def given(
    targets: Sequence[str] | None, claims: Sequence[str] | None, targets_file: Path | None
) -> Asked:
    """What is to be decided on what, from the options.

    Raises:
        UserError: There is no such target or claim.
    """
    targets = targets or ["embedded"]
    for target in targets:
        resolve(target, targets_file=targets_file)
    for claim in claims or ():
        if claim not in catalogue():
            hint = did_you_mean(claim, catalogue())
            raise UserError(f"no claim '{claim}'{hint}; `probes claims` lists them")
    return Asked(
        targets=tuple(in_full(target) for target in targets),
        claims=tuple(claims or ()),
        targets_file=str(targets_file.resolve()) if targets_file else None,
    )


def _exact(pins: Sequence[Pin], python: str, sources: Sources) -> tuple[Pin, ...]:
    """The pins with `latest` asked for at the index."""
    if all(pin.version != LATEST for pin in pins):
        return tuple(pins)
    urls = indexes(sources.index_url, sources.extra_index_url)
    return resolved(pins, lambda package: str(releases(package, python, urls)[-1]))


def _record(folder: Path, run: str) -> Record | None:
    """A run's record; none where it was stopped before it had written anything."""
    try:
        return read(folder / run)
    except UserError:
        return None


def _own_command(packages: Sequence[str], asked: Asked) -> str:
    """The command as a page may show it: without what concerns one machine alone."""
    words = ["probes", "matrix"]
    words += [word for text in packages for word in ("--with", text)]
    for target in asked.targets:
        name = f"path/to/{Path(target).name}" if Path(target).is_dir() else target
        words += ["--target", name]
    words += [word for claim in asked.claims for word in ("--claim", claim)]
    return shlex.join([*words, "--page", "docs/releases.md"])


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
