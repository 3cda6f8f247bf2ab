"""Decide the claims in one cell: make its environment, then run pytest for each target."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from pydantic import Field, ValidationError

from probes._util.files import write_atomically
from probes._util.redaction import Redactor
from probes._util.version import __version__
from probes.errors import UserError
from probes.results.reading import RECORD_FILE, run_folders
from probes.schema.base import Stored
from probes.upgrade.cells import Cell
from probes.upgrade.environments import NotInstallableError, make_environment

RESULT_FILE = "cell.json"

_CALLERS_OWN = (
    "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY",
)  # fmt: skip
"""Variables of the calling process that are wrong in another environment."""

_REFUSED, _NOTHING_DECIDED = 4, 5
"""Exit codes of pytest."""


class End(str, Enum):
    """How a target's run in a cell ended."""

    RAN = "ran"
    NOT_INSTALLED = "not installed"
    REFUSED = "refused"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


class Attempt(Stored):
    """One target's run in one cell."""

    target: str
    end: End
    reason: str = ""
    """Why it did not run to its end."""
    run: str | None = None
    """Folder of its record, below the report folder; None where nothing was decided."""
    seconds: float = 0.0


class Outcome(Stored):
    """What was decided in a cell."""

    cell: Cell
    attempts: tuple[Attempt, ...]
    """One a target."""
    setup_seconds: float | None = None
    """Time to make its environment; None if it existed, or could not be made."""
    options: tuple[str, ...] = ()
    """Those of `probes run` that say what to decide."""
    suite: str = __version__
    """Version of this package."""


class Plan(Stored):
    """All that the cells of a command share."""

    targets: tuple[str, ...]
    """As `--target` takes them; folders by their absolute path."""
    options: tuple[str, ...]
    """Options of `probes run`."""
    package: Path
    """What a cell installs of this package: the folder of its source, or a wheel."""
    environments: Path
    report_dir: Path
    """Each cell has a folder there for its records and reports."""
    uv_options: tuple[str, ...]
    """Options of `uv pip install`."""
    timeout: float
    """Seconds after which a target's run is ended."""
    resume: bool
    """Whether to keep what was decided before."""
    variables: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the runs."""

    def fail(self, cell: Cell, end: End, reason: str) -> Outcome:
        """Return the outcome of a cell in which no target could be run."""
        reason = Redactor.for_this_machine().redact_text(reason)
        attempts = tuple(Attempt(target=each, end=end, reason=reason) for each in self.targets)
        return Outcome(cell=cell, options=self.options, attempts=attempts)


def decide(plan: Plan, cell: Cell, show: Callable[[str], object]) -> Outcome:
    """Decide the claims in one cell; a failure in the cell is an outcome.

    `show` takes the name of each stage as it begins.
    """
    folder = plan.report_dir / cell.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"records cannot be written to '{plan.report_dir}': {error.strerror or error}; "
            "name another folder with --report-dir"
        ) from error
    show("installing")
    try:
        python, seconds = make_environment(cell, plan.package, plan.uv_options, plan.environments)
    except NotInstallableError as error:
        outcome = plan.fail(cell, End.NOT_INSTALLED, str(error))
    else:
        known = {each.target: each for each in find_attempts(plan, cell)}
        for number, target in enumerate(plan.targets, start=1):
            if target not in known:
                show(f"deciding {number} of {len(plan.targets)}")
                known[target] = _attempt(plan, target, python, folder / f"pytest-{number}.log")
        outcome = Outcome(
            cell=cell,
            options=plan.options,
            attempts=tuple(known[target] for target in plan.targets),
            setup_seconds=seconds,
        )
    write_atomically(folder / RESULT_FILE, outcome.model_dump_json(indent=1) + "\n")
    return outcome


def find_attempts(plan: Plan, cell: Cell) -> tuple[Attempt, ...]:
    """Return what earlier commands decided to its end, in the order of the targets.

    They must have decided the same claims under the same versions; none counts without `resume`.
    """
    try:
        text = (plan.report_dir / cell.name / RESULT_FILE).read_bytes()
        before = Outcome.model_validate_json(text)
    except (OSError, ValidationError):
        return ()
    known = (before.cell, before.options, before.suite)
    if not plan.resume or known != (cell, plan.options, __version__):
        return ()
    return tuple(
        attempt
        for target in plan.targets
        for attempt in before.attempts
        if attempt.target == target
        and attempt.end is End.RAN
        and (plan.report_dir / (attempt.run or "") / RECORD_FILE).is_file()
    )


def _attempt(plan: Plan, target: str, python: Path, log: Path) -> Attempt:
    folder = log.parent
    command = [str(python), "-m", "probes", "run", target, "--report-dir", str(folder)]
    command += ["-p", "no:cacheprovider", "-q", "--tb=no", *plan.options]
    before = _list_runs(folder)
    start = time.monotonic()
    try:
        code = _run(command, plan.variables, log, plan.timeout)
    finally:
        output = _remove_secrets(log)
    end, reason = classify_end(code, output, plan.timeout)
    runs = sorted(_list_runs(folder) - before)
    return Attempt(
        target=target,
        end=end,
        reason=Redactor.for_this_machine().redact_text(reason),
        run=runs[-1].relative_to(plan.report_dir).as_posix() if runs else None,
        seconds=time.monotonic() - start,
    )


def _list_runs(folder: Path) -> set[Path]:
    return {run for child in folder.iterdir() if child.is_dir() for run in run_folders(child)}


def _run(command: list[str], variables: Mapping[str, str], log: Path, limit: float) -> int | None:
    """Return the exit code; None where the time was over and the run was ended."""
    inherited = {name: value for name, value in os.environ.items() if name not in _CALLERS_OWN}
    # In an empty folder, no run finds the outputs that another has recorded.
    with tempfile.TemporaryDirectory(prefix="probes-") as place, log.open("wb") as output:
        try:
            done = subprocess.run(  # noqa: S603 - Python of the cell, with arguments of ours
                command,
                cwd=place,
                env={**inherited, "PYTHONNOUSERSITE": "1", **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        return done.returncode


def _remove_secrets(log: Path) -> str:
    """Return the text of a log, and remove secrets from the file: it is shared like a record."""
    try:
        output = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # the run did not begin
        return ""
    clean = Redactor.for_secrets().redact_text(output)
    if clean != output:
        write_atomically(log, clean)
    return clean


@contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM as an interruption, so that the started processes are ended, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def classify_end(code: int | None, output: str, limit: float) -> tuple[End, str]:
    """Return how a run ended, and the reason, from the exit code and the output of pytest.

    >>> classify_end(1, "", 60.0)
    (<End.RAN: 'ran'>, '')
    >>> classify_end(-11, "", 60.0)
    (<End.CRASHED: 'crashed'>, 'it was ended by SIGSEGV')
    """
    if code is None:
        return End.TIMED_OUT, f"it did not end within {limit / 60:g} minutes"
    if code in (0, 1, _NOTHING_DECIDED):
        return End.RAN, ""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|INTERNALERROR>|\w+Error):?", line)]
    last = re.sub(r"^(ERROR: |INTERNALERROR> )", "", (errors or lines or [""])[-1])
    if code == _REFUSED:
        return End.REFUSED, last
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        return End.CRASHED, f"it was ended by {names.get(-code, f'signal {-code}')}"
    return End.CRASHED, f"exit code {code}: {last}".removesuffix(": ")
