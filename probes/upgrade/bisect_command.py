"""The command `probes bisect`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from probes.errors import UserError
from probes.report.text.phrases import format_duration as duration
from probes.results.reading import read
from probes.upgrade import bisect_words as words
from probes.upgrade import steps
from probes.upgrade.cells import LATEST, Cell, Pin, pythons, wanted
from probes.upgrade.environments import default_folder, find_uv
from probes.upgrade.matrix_command import (
    ENVIRONMENTS,
    EXTRA_INDEX_URL,
    FIND_LINKS,
    HERE,
    INDEX_URL,
    TARGETS_FILE,
    TIMEOUT,
    TORCH_BACKEND,
    WITH,
    given,
    given_sources,
)
from probes.upgrade.question import Finding, Question, differing, measure
from probes.upgrade.releases import indexes, releases
from probes.upgrade.run import Job, decide, decided_before, interruptible, project_folder
from probes.upgrade.search import Side, search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probes.schema.record import ClaimRecord
    from probes.upgrade.run import Outcome
    from probes.upgrade.steps import Search, Step

REPORT_DIR = Path("reports") / "bisect"


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
    targets_file: TARGETS_FILE = None,
    packages: WITH = None,
    python: Annotated[
        str, typer.Option("--python", metavar="VERSION", help="The version of Python.")
    ] = HERE,
    find_links: FIND_LINKS = None,
    index_url: INDEX_URL = None,
    extra_index_url: EXTRA_INDEX_URL = None,
    torch_backend: TORCH_BACKEND = None,
    environments: ENVIRONMENTS = None,
    timeout: TIMEOUT = 60,
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
        bool, typer.Option("--fresh", help="Begin anew, whatever the log holds.")
    ] = False,
    report_dir: Annotated[
        Path, typer.Option("--report-dir", metavar="FOLDER", help="Where records are written.")
    ] = REPORT_DIR,
) -> None:
    """Find the release of a package at which a claim, or a number of its evidence, changed."""
    question = _question(claim, measured, threshold)
    sources = given_sources(find_links, index_url, extra_index_url, torch_backend)
    asked = given([target], [question.claim], targets_file)
    ends = (_version("--good", good), _version("--bad", bad))
    (one_python, *others) = pythons(python)
    if others:
        raise UserError(f"--python {python!r}: a bisection takes one version")
    name = canonicalize_name(package)
    project = project_folder()
    find_uv()
    urls = indexes(sources.index_url, sources.extra_index_url)
    between = words.stretch(releases(name, one_python, urls), name, *ends)
    sought = steps.Search(
        package=name,
        question=question,
        asked=asked,
        pins=_pins(packages or [], name),
        python=one_python,
    )
    folder = report_dir.resolve()

    def job(version: str) -> Job:
        return Job(
            cell=Cell(python=one_python, pins=(Pin(package=name, version=version), *sought.pins)),
            asked=asked,
            project=project,
            environments=(environments or default_folder()).resolve(),
            report_dir=folder,
            sources=sources,
            timeout=timeout * 60,
        )

    with interruptible():
        _bisect(sought, between, len(between) if check_all else more, folder, job, fresh)


def _bisect(
    sought: Search,
    between: tuple[str, ...],
    more: int,
    folder: Path,
    job: Callable[[str], Job],
    fresh: bool,
    run: Callable[[Job], Outcome] = decide,
) -> None:
    log = folder / sought.log_name
    known = {} if fresh else steps.taken_up(log, folder)
    if fresh:
        log.unlink(missing_ok=True)
    taken: dict[str, Step] = {}

    def ask(version: str) -> Finding:
        step = known.get(version) or _step(version, job(version), sought.question, fresh, run)
        if version not in known:
            steps.add(log, step)
        taken[version] = step
        again = ", from the log" if version in known else f" ({duration(step.seconds)})"
        typer.echo(f"{len(taken)}. {sought.package} {version}: {step.finding.said}{again}")
        return step.finding

    typer.echo(f"{len(between)} releases from {between[0]} to {between[-1]}; log: {log}")
    good, bad = between[0], between[-1]
    findings = {version: ask(version) for version in (good, bad)}
    if note := words.ends_differ(sought.question, good, bad, findings):
        typer.echo(note)

    def judge(version: str) -> Side:
        findings[version] = ask(version)
        if findings[version].state is None:
            return Side.SKIPPED
        return Side.GOOD if findings[version].state == findings[good].state else Side.BAD

    answer = search(between, judge, more)
    typer.echo()
    for line in words.conclusion(sought.package, sought.question, answer, findings, len(between)):
        typer.echo(line)
    _show_evidence(sought, answer.last_good, answer.first_bad, taken, folder)
    if answer.skipped or answer.contradictions:
        raise typer.Exit(1)


def _step(
    version: str, job: Job, question: Question, fresh: bool, run: Callable[[Job], Outcome]
) -> Step:
    """A release judged: by the record that its cell left, or by deciding it now."""
    start = time.monotonic()
    outcome = (None if fresh else decided_before(job)) or run(job)
    (attempt,) = outcome.attempts
    if attempt.run is None:
        finding = Finding(state=None, said=f"{attempt.end.value}: {attempt.reason}")
    else:
        finding = question.answer(read(job.report_dir / attempt.run))
    return steps.Step(
        version=version, finding=finding, seconds=time.monotonic() - start, run=attempt.run
    )


def _show_evidence(
    sought: Search, good: str, bad: str, taken: Mapping[str, Step], folder: Path
) -> None:
    before, after = (_claim(sought, version, taken[version], folder) for version in (good, bad))
    if before and after and (lines := differing(before, after)):
        typer.echo(f"evidence that differs, {good} → {bad}:")
        for line in lines:
            typer.echo(f"  {line}")


def _claim(sought: Search, version: str, step: Step, folder: Path) -> ClaimRecord | None:
    """The claim as a release's record has it; says where that lies."""
    if step.run is None:
        return None
    typer.echo(f"record of {version}: {folder / step.run}")
    claims = read(folder / step.run).claims
    return next((each for each in claims if each.id == sought.question.claim), None)


def _question(claim: str | None, measured: str | None, threshold: float | None) -> Question:
    if (claim is None) == (measured is None):
        raise UserError("name what counts: --claim ID, or --measure CLAIM.KEY with --threshold X")
    if claim is not None:
        if threshold is not None:
            raise UserError("--threshold goes with --measure; a claim's verdict needs none")
        return Question(claim=claim)
    assert measured is not None
    if threshold is None:
        raise UserError(f"--measure {measured}: say with --threshold what to hold it against")
    return measure(measured, threshold)


def _version(option: str, text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise UserError(f"{option} {text!r} is no version; give one such as 5.0.0") from None


def _pins(packages: list[str], bisected: str) -> tuple[Pin, ...]:
    """The other versions asked for: one of each."""
    pins = []
    for text in packages:
        (pin, *others) = wanted(text)
        if others or pin.version == LATEST or pin.package == bisected:
            raise UserError(
                f"--with {text!r}: a bisection takes one exact version of each other package"
            )
        pins.append(pin)
    return tuple(pins)
