"""The claims decided in one cell: its environment, then a run of pytest for each target."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext, suppress
from enum import Enum
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from probes._util.files import PACKAGE, write_atomically
from probes._util.redaction import Redactor
from probes._util.version import __version__
from probes.errors import UserError
from probes.results.reading import RECORD_FILE, run_folders
from probes.upgrade.cells import Cell, _Stored
from probes.upgrade.environments import Made, NotInstallableError, Sources, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from threading import Event

RESULT_FILE = "cell.json"
"""In a cell's folder: what became of it."""

NEEDED = ("conftest.py", "pyproject.toml")
"""Files that a run of the claims' tests needs beside them."""

LOG_FILE = "pytest-{number}.log"
"""In a cell's folder: what pytest said of the target of this number."""

_ANOTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY")
"""Variables of the process that calls, which mean nothing in another environment."""

_REFUSED, _NOTHING_DECIDED = 4, 5
"""Exit codes of pytest."""


_PATIENCE = 0.5
"""Seconds between two looks at whether a run was stopped."""


class StoppedError(Exception):
    """The run was stopped before it ended."""


class End(str, Enum):
    """How a target's run in a cell ended."""

    RAN = "ran"
    NOT_INSTALLED = "not installed"
    REFUSED = "refused"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


class Asked(_Stored):
    """What is asked of every cell alike."""

    targets: tuple[str, ...]
    """As `--target` takes them; folders in full."""
    claims: tuple[str, ...] = ()
    """Claims to decide; all where none is named."""
    targets_file: str | None = None
    """A file with targets of one's own."""
    suite: str = __version__
    """Version of this package."""


class Attempt(_Stored):
    """One target's run in one cell."""

    target: str
    """As it was asked for."""
    end: End
    """How it ended."""
    reason: str = ""
    """Why, where it did not end well."""
    run: str | None = None
    """Folder of its record, below the report folder; none where nothing was decided."""
    seconds: float = 0.0
    """What the run took, from the start of pytest to its end."""


class Outcome(_Stored):
    """What became of a cell."""

    cell: Cell
    asked: Asked
    attempts: tuple[Attempt, ...]
    """One a target, in their order."""
    made: Made | None = None
    """Its environment; none where it could not be made."""


class Job(_Stored):
    """All that is needed to decide a cell."""

    cell: Cell
    asked: Asked
    project: Path
    """This package's source, with the tests that decide the claims."""
    environments: Path
    """Where environments are kept."""
    report_dir: Path
    """Where records and reports go; each cell has a folder of its own there."""
    sources: Sources = Sources()
    timeout: float = 3600.0
    """Seconds after which a target's run is ended."""
    resume: bool = False
    """Whether to take over the targets that were decided before."""
    variables: dict[str, str] = Field(default_factory=dict)
    """More environment variables for the runs."""


def project_folder(places: tuple[Path, ...] | None = None) -> Path:
    """This package's source: the claims' tests come with it alone.

    Raises:
        UserError: It is not here.
    """
    for folder in places or (PACKAGE.parent, Path.cwd()):
        parts = ("pyproject.toml", "probes/__init__.py", "tests/claims")
        if all((folder / part).exists() for part in parts):
            return folder
    raise UserError(
        "the tests that decide the claims (tests/claims) are not installed with the package: "
        "run this in a clone of its repository, or in its unpacked source archive"
    )


def in_full(target: str) -> str:
    """A target as any folder can be asked for it: a folder by its whole path, a name as it is."""
    return str(Path(target).resolve()) if Path(target).is_dir() else target


def decide(
    job: Job,
    tell: Callable[[str], None] | None = None,
    installing: AbstractContextManager[object] | None = None,
    stopped: Event | None = None,
) -> Outcome:
    """Decide the claims in one cell. Whatever goes wrong there is an outcome.

    Args:
        job: the cell, and what is asked of it.
        tell: called with a word or two when a stage begins.
        installing: held while the environment is made.
        stopped: set by another thread, it ends the run.

    Raises:
        UserError: There is no uv, or a folder cannot be written to.
        StoppedError: It was stopped.
    """
    folder = _folder(job)
    say = tell or _silent
    try:
        with installing or nullcontext():
            say("installing")
            python, made = make(job.cell, job.project, job.sources, job.environments)
    except NotInstallableError as error:
        reason = Redactor.for_this_machine().redact_text(str(error))
        attempts = tuple(
            Attempt(target=target, end=End.NOT_INSTALLED, reason=reason)
            for target in job.asked.targets
        )
        return _kept(folder, Outcome(cell=job.cell, asked=job.asked, attempts=attempts))
    known = attempts_before(job, _before(job)) if job.resume else {}
    attempts = ()
    for number, target in enumerate(job.asked.targets, start=1):
        if target in known:
            attempts += (known[target],)
            continue
        say(f"deciding {number} of {len(job.asked.targets)}")
        with _copy(job.project) as place:
            run = partial(_run, job=job, place=place, stopped=stopped)
            attempts += (attempt(job, folder, python, number, target, run),)
    outcome = Outcome(cell=job.cell, asked=job.asked, attempts=attempts, made=made)
    return _kept(folder, outcome)


@contextmanager
def _copy(project: Path) -> Iterator[Path]:
    """A copy of the claims' tests, so that no run finds what another has recorded.

    A run records outputs of a target beside the tests, where there are none: the next column would
    be compared with them, whichever came first.
    """
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        for name in NEEDED:
            if (project / name).is_file():
                shutil.copy(project / name, folder)
        shutil.copytree(
            project / "tests",
            Path(folder) / "tests",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        yield Path(folder)


def _silent(stage: str) -> None:
    """Tell nobody; for who does not ask."""
    del stage


def _folder(job: Job) -> Path:
    folder = job.report_dir / job.cell.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"records cannot be written to '{job.report_dir}': {error.strerror or error}; "
            "name another folder with --report-dir"
        ) from error
    return folder


def _kept(folder: Path, outcome: Outcome) -> Outcome:
    write_atomically(folder / RESULT_FILE, outcome.model_dump_json(indent=1) + "\n")
    return outcome


def decided_before(job: Job) -> Outcome | None:
    """What the same question came to in the same cell; None where something of it is missing."""
    before = _before(job)
    known = attempts_before(job, before)
    if before is None or not all(target in known for target in job.asked.targets):
        return None
    attempts = tuple(known[target] for target in job.asked.targets)
    return Outcome(cell=job.cell, asked=job.asked, attempts=attempts, made=before.made)


def attempts_before(job: Job, before: Outcome | None) -> dict[str, Attempt]:
    """By target, the runs of a cell that answer the same question.

    Only one that came to its end counts: one that crashed is run again.
    """
    ignored = {"targets": ()}
    if before is None or (before.cell, before.asked.model_copy(update=ignored)) != (
        job.cell,
        job.asked.model_copy(update=ignored),
    ):
        return {}
    return {
        attempt.target: attempt
        for attempt in before.attempts
        if attempt.end is End.RAN
        and attempt.run is not None
        and (job.report_dir / attempt.run / RECORD_FILE).is_file()
    }


def _before(job: Job) -> Outcome | None:
    try:
        return Outcome.model_validate_json(
            (job.report_dir / job.cell.name / RESULT_FILE).read_bytes()
        )
    except (OSError, ValidationError):
        return None


def command(python: Path, asked: Asked, target: str, report_dir: Path) -> list[str]:
    """The command that decides the claims on a target.

    >>> asked = Asked(targets=("embedded",), claims=("bos-inserted",))
    >>> " ".join(command(Path("python"), asked, "embedded", Path("out"))[1:7])
    '-m pytest tests/claims --target embedded --report-dir'
    """
    words = [str(python), "-m", "pytest", "tests/claims", "--target", target]
    words += ["--report-dir", str(report_dir), "-p", "no:cacheprovider", "-q", "--tb=no"]
    words += ["--targets-file", asked.targets_file] if asked.targets_file else []
    return words + [word for claim in asked.claims for word in ("--claim", claim)]


def environ(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a run: what concerns this process alone is left out."""
    kept = {name: value for name, value in inherited.items() if name not in _ANOTHERS}
    return kept | {"PYTHONNOUSERSITE": "1"} | job.variables


def attempt(
    job: Job,
    folder: Path,
    python: Path,
    number: int,
    target: str,
    run: Callable[[list[str], int], int | None],
) -> Attempt:
    """Decide the claims on one target, and keep what pytest says in a log.

    Args:
        job: what is asked of the cell.
        folder: the cell's.
        python: of the cell's environment.
        number: the target's place, for the log's name.
        target: its name.
        run: runs a command with its output in a file's handle; the exit code, or None where it
            did not end in time.
    """
    log = folder / LOG_FILE.format(number=number)
    before = _runs(folder)
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            code = run(command(python, job.asked, target, folder), output.fileno())
        except BaseException:
            with suppress(OSError):
                without_secrets(log)
            raise
    said = without_secrets(log)
    seconds = time.monotonic() - start
    new = sorted(_runs(folder) - before)
    end, reason = ending(code, said, job.timeout)
    return Attempt(
        target=target,
        end=end,
        reason=Redactor.for_this_machine().redact_text(reason),
        run=new[-1].relative_to(job.report_dir).as_posix() if new else None,
        seconds=seconds,
    )


def without_secrets(log: Path) -> str:
    """What a log says, with secrets taken out of the file too: it is shared like the records."""
    said = log.read_text(encoding="utf-8", errors="replace")
    scrubbed = Redactor.for_secrets().redact_text(said)
    if scrubbed != said:
        write_atomically(log, scrubbed)
    return scrubbed


def _runs(folder: Path) -> set[Path]:
    targets = [child for child in folder.iterdir() if child.is_dir()]
    return {run for target in targets for run in run_folders(target)}


def _run(
    words: list[str], output: int, *, job: Job, place: Path, stopped: Event | None
) -> int | None:
    """The exit code; None where it did not end in time, and was ended with all it had started."""
    process = subprocess.Popen(  # noqa: S603 - Python of the cell, with arguments of ours
        words,
        cwd=place,
        env=environ(job, os.environ),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + job.timeout
    try:
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(min(_PATIENCE, job.timeout))
            if stopped is not None and stopped.is_set():
                raise StoppedError
        return None
    finally:
        _end(process)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a request to end, as of `kill`, be an interruption: what was started is then ended."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started, where it has not ended by itself."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ending(code: int | None, said: str, limit: float) -> tuple[End, str]:
    """How a run ended, and why, from pytest's exit code and what it said.

    >>> ending(1, "", 60.0)
    (<End.RAN: 'ran'>, '')
    >>> ending(4, "ERROR: no target 'x'; did you mean 'y'?", 60.0)
    (<End.REFUSED: 'refused'>, "no target 'x'; did you mean 'y'?")
    >>> ending(None, "", 1800.0)
    (<End.TIMED_OUT: 'timed out'>, 'it did not end within 30 minutes')
    >>> ending(-11, "", 60.0)
    (<End.CRASHED: 'crashed'>, 'it was ended by SIGSEGV')
    """
    if code is None:
        return End.TIMED_OUT, f"it did not end within {limit / 60:g} minutes"
    if code in (0, 1, _NOTHING_DECIDED):
        return End.RAN, ""
    last = _last_line(said)
    if code == _REFUSED:
        return End.REFUSED, last
    if code < 0:
        return End.CRASHED, f"it was ended by {_signal_name(-code)}"
    return End.CRASHED, f"exit code {code}: {last}" if last else f"exit code {code}"


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|INTERNALERROR>|\w+Error):?", line)]
    line = (errors or lines or [""])[-1]
    return re.sub(r"^(ERROR: |INTERNALERROR> )", "", line)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
