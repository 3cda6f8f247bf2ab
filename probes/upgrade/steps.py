"""The log of a bisection: each release with its answer, kept so that it can be taken up again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from probes.errors import UserError
from probes.upgrade.cells import Pin, _Stored
from probes.upgrade.question import Finding, Question
from probes.upgrade.run import Asked

if TYPE_CHECKING:
    from pathlib import Path


class Search(_Stored):
    """What is searched: the same search takes up the same log."""

    package: str
    """The package whose releases are bisected."""
    question: Question
    """What is asked of each."""
    asked: Asked
    """On which target it is decided."""
    pins: tuple[Pin, ...] = ()
    """The other versions asked for."""
    python: str

    @property
    def log_name(self) -> str:
        """What the log's file is called."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]
        return f"{self.package}-{self.question.claim}-{digest}.jsonl"


class Step(_Stored):
    """One release."""

    version: str
    finding: Finding
    """What it answers."""
    seconds: float
    """What it took, its environment included."""
    run: str | None = None
    """Folder of its record, below the report folder."""


def taken_up(file: Path, report_dir: Path) -> dict[str, Step]:
    """The steps that a log holds, by version; without those whose record is gone.

    A last line that was torn as it was written is left out.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return {}
    steps = {}
    for line in lines:
        try:
            step = Step.model_validate_json(line)
        except ValidationError:
            continue
        if step.run is None or (report_dir / step.run).is_dir():
            steps[step.version] = step
    return steps


def add(file: Path, step: Step) -> None:
    """Write a step down.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", newline="\n") as log:
            log.write(step.model_dump_json() + "\n")
    except OSError as error:
        raise UserError(
            f"the log cannot be written to '{file}': {error.strerror or error}; "
            "name another folder with --report-dir"
        ) from error
