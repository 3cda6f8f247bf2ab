"""The commands `probes matrix` and `probes bisect`, with the options that they share."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from packaging.utils import canonicalize_name

from probes._util.files import check_output, write_output
from probes.errors import UserError, did_you_mean
from probes.results.reading import read
from probes.schema.claim import catalogue
from probes.targets.resolve import resolve
from probes.upgrade import pool, ray, view
from probes.upgrade.bisection import Bisection, parse_version, select_between
from probes.upgrade.cells import LATEST, combine, parse_pins, parse_pythons, resolve_latest
from probes.upgrade.environments import Sources, default_folder, find_uv
from probes.upgrade.question import Question, parse_measure
from probes.upgrade.releases import list_indexes, list_releases
from probes.upgrade.run import Plan, Request, find_outcome, find_package, interruptible
from probes.upgrade.table import build_tables
from probes.upgrade.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.version import Version

    from probes.schema.record import Record
    from probes.upgrade.cells import Pin

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python of this process."""

PAGE_FILE = "matrix.html"

# --- the shared options --------------------------------------------------------------------------

TargetsFile = Annotated[
    Path | None,
    typer.Option("--targets-file", metavar="FILE", help="TOML file with targets of your own."),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="PACKAGE==VERSION,…",
        help="Versions of a package, `latest` among them; a name alone is any version; repeatable.",
    ),
]
FindLinks = Annotated[
    list[str] | None,
    typer.Option(
        "--find-links", metavar="FOLDER|URL", help="Passed on to uv; repeatable. [default: none]"
    ),
]
IndexUrl = Annotated[
    str | None,
    typer.Option("--index-url", metavar="URL", help="Passed on to uv. [default: uv's own]"),
]
ExtraIndexUrl = Annotated[
    list[str] | None,
    typer.Option("--extra-index-url", metavar="URL", help="Passed on to uv; repeatable."),
]
TorchBackend = Annotated[
    str | None,
    typer.Option("--torch-backend", metavar="NAME", help="Passed on to uv: cpu, auto and others."),
]
Environments = Annotated[
    Path | None,
    typer.Option(
        "--environments",
        metavar="FOLDER",
        help="Where environments are kept. [default: in the user's cache]",
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="MINUTES", min=0.01, help="Ends a target's run after that."),
]
ReportDir = Annotated[
    Path, typer.Option("--report-dir", metavar="FOLDER", help="Where records are written.")
]


# --- the commands --------------------------------------------------------------------------------


def matrix(
    packages: With = None,
    python: Annotated[
        str, typer.Option("--python", metavar="VERSION,…", help="Versions of Python.")
    ] = HERE,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="NAME|FOLDER|HUB-ID",
            help="What to decide claims on; repeatable. [default: embedded]",
        ),
    ] = None,
    targets_file: TargetsFile = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", metavar="ID", help="Decide this claim alone; repeatable. [default: all]"
        ),
    ] = None,
    find_links: FindLinks = None,
    index_url: IndexUrl = None,
    extra_index_url: ExtraIndexUrl = None,
    torch_backend: TorchBackend = None,
    environments: Environments = None,
    timeout: Timeout = 60,
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
    report_dir: ReportDir = Path("reports", "matrix"),
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
    sources = _read_sources(find_links, index_url, extra_index_url, torch_backend)
    pins = [parse_pins(text) for text in packages or ()]
    if not pins:
        raise UserError(
            "nothing to combine: name versions, as in --with transformers==5.0.0,latest"
        )
    plan = _make_plan(
        _read_request(target or ["embedded"], claim or [], targets_file),
        sources, environments, report_dir, timeout, resume,
    )  # fmt: skip
    resources = ray.Resources(on and ray.parse_address(on), num_cpus, num_gpus, jobs)
    html = html or plan.report_dir / PAGE_FILE
    for file, what in ((summary, "summary"), (page, "page")):
        if file is not None:
            check_output(file, what, f"--{what}")
    if html.parent != plan.report_dir:
        check_output(html, "page", "--html")
    pythons = parse_pythons(python)

    def find_newest(package: str) -> str:
        return str(_list_releases(package, pythons[0], sources)[-1])

    cells = combine([resolve_latest(each, find_newest) for each in pins], pythons)
    known = {cell: outcome for cell in cells if resume and (outcome := find_outcome(plan, cell))}
    waiting = [cell for cell in cells if cell not in known]
    with interruptible(), Watch(len(waiting)) as watch:
        outcomes = (
            ray.decide_all(plan, waiting, resources, watch.show_stage)
            if on
            else pool.decide_all(plan, waiting, jobs, watch.show_stage)
        )
        for outcome in outcomes:
            known[outcome.cell] = outcome
            watch.show_end(outcome)

    def read_run(run: str) -> Record | None:
        try:
            return read(plan.report_dir / run)
        except UserError:  # it was stopped before it had written anything
            return None

    tables = build_tables([known[cell] for cell in cells], read_run)
    write_output(html, view.render_page(tables, plan.report_dir, html), "page", "--html")
    if summary is not None:
        write_output(summary, view.render_summary(tables, str(html)), "summary", "--summary")
    if page is not None:
        command = _format_command(packages or [], plan.request)
        write_output(page, view.render_releases(tables, command), "page", "--page")
    width = shutil.get_terminal_size((120, 24)).columns
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    typer.echo(view.render_text(tables, width, colour, whole), nl=False)
    typer.echo(f"page: {html}")
    if not all(table.is_green for table in tables):
        raise typer.Exit(1)


def bisect(
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="Whose releases to search.")],
    good: Annotated[
        str, typer.Option("--good", metavar="VERSION", help="A release that is as it should be.")
    ],
    bad: Annotated[
        str, typer.Option("--bad", metavar="VERSION", help="A release that is not; older or newer.")
    ],
    claim: Annotated[
        str | None, typer.Option("--claim", metavar="ID", help="The claim whose verdict counts.")
    ] = None,
    measured: Annotated[
        str | None,
        typer.Option(
            "--measure",
            metavar="CLAIM.KEY",
            help="A number of a claim's evidence that counts instead: CLAIM[CHECK].KEY.KEY.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="X", help="The good end says which side is good."),
    ] = None,
    target: Annotated[
        str,
        typer.Option("--target", metavar="NAME|FOLDER|HUB-ID", help="What to decide the claim on."),
    ] = "embedded",
    targets_file: TargetsFile = None,
    packages: With = None,
    python: Annotated[
        str, typer.Option("--python", metavar="VERSION", help="The version of Python.")
    ] = HERE,
    find_links: FindLinks = None,
    index_url: IndexUrl = None,
    extra_index_url: ExtraIndexUrl = None,
    torch_backend: TorchBackend = None,
    environments: Environments = None,
    timeout: Timeout = 60,
    more: Annotated[
        int,
        typer.Option(
            "--more", metavar="N", min=0, help="Releases judged beside, in the widest gaps."
        ),
    ] = 2,
    check_all: Annotated[
        bool, typer.Option("--check-all", help="Judge every release between the ends.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ignore the records of an earlier search.")
    ] = False,
    report_dir: ReportDir = Path("reports", "bisect"),
) -> None:
    """Find the release of a package at which a claim, or a number of its evidence, changed."""
    question = _read_question(claim, measured, threshold)
    sources = _read_sources(find_links, index_url, extra_index_url, torch_backend)
    request = _read_request([target], [question.claim], targets_file)
    ends = parse_version("--good", good), parse_version("--bad", bad)
    one_python, *others = parse_pythons(python)
    if others:
        raise UserError(f"--python {python!r}: a bisection takes one version")
    name = canonicalize_name(package)
    pins = _read_exact_pins(packages or [], name)
    plan = _make_plan(request, sources, environments, report_dir, timeout, resume=not fresh)
    releases = select_between(_list_releases(name, one_python, sources), name, *ends)
    bisection = Bisection(plan, question, name, pins, one_python)
    with interruptible():
        if not bisection.run(releases, len(releases) if check_all else more):
            raise typer.Exit(1)


# --- reading the options -------------------------------------------------------------------------


def _read_sources(
    find_links: Sequence[str] | None,
    index_url: str | None,
    extra_index_url: Sequence[str] | None,
    torch_backend: str | None,
) -> Sources:
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


def _read_request(
    targets: Sequence[str], claims: Sequence[str], targets_file: Path | None
) -> Request:
    for target in targets:
        resolve(target, targets_file=targets_file)
    for claim in claims:
        if claim not in catalogue():
            hint = did_you_mean(claim, catalogue())
            raise UserError(f"no claim '{claim}'{hint}; `probes claims` lists them")
    return Request(
        targets=tuple(
            str(Path(each).resolve()) if Path(each).is_dir() else each for each in targets
        ),
        claims=tuple(claims),
        targets_file=str(targets_file.resolve()) if targets_file else None,
    )


def _make_plan(
    request: Request,
    sources: Sources,
    environments: Path | None,
    report_dir: Path,
    minutes: float,
    resume: bool,
) -> Plan:
    find_uv()
    return Plan(
        request=request,
        package=find_package(),
        environments=(environments or default_folder()).resolve(),
        report_dir=report_dir.resolve(),
        sources=sources,
        timeout=minutes * 60,
        resume=resume,
    )


def _list_releases(package: str, python: str, sources: Sources) -> tuple[Version, ...]:
    return list_releases(package, python, list_indexes(sources.index_url, sources.extra_index_url))


def _read_question(claim: str | None, measured: str | None, threshold: float | None) -> Question:
    if claim is not None and measured is None:
        if threshold is not None:
            raise UserError("--threshold goes with --measure; a claim's verdict needs none")
        return Question(claim)
    if measured is not None and claim is None:
        if threshold is None:
            raise UserError(f"--measure {measured}: say with --threshold what to hold it against")
        return parse_measure(measured, threshold)
    raise UserError("name what counts: --claim ID, or --measure CLAIM.KEY with --threshold X")


def _read_exact_pins(packages: Sequence[str], bisected: str) -> tuple[Pin, ...]:
    """Return the versions of the other packages, one of each."""
    pins = []
    for text in packages:
        (pin, *others) = parse_pins(text)
        if others or pin.version == LATEST or pin.package == bisected:
            raise UserError(
                f"--with {text!r}: a bisection takes one exact version of each other package"
            )
        pins.append(pin)
    return tuple(pins)


def _format_command(packages: Sequence[str], request: Request) -> str:
    """Return the command as a page shows it: without options that concern only this machine."""
    targets = [
        f"path/to/{Path(target).name}" if Path(target).is_dir() else target
        for target in request.targets
    ]
    options = [("--with", each) for each in packages]
    options += [("--target", each) for each in targets]
    options += [("--claim", each) for each in request.claims]
    words = [word for option in options for word in option]
    return shlex.join(["probes", "matrix", *words, "--page", "docs/releases.md"])
