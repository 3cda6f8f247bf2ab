"""What runs there are in a report folder, read cheaply enough to do so at the end of each run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from probes.errors import UserError
from probes.results.reading import MAX_BYTES, RECORD_FILE, REPORT_FILE, read, run_folders
from probes.schema.record import SCHEMA_VERSION, Environment, Record, TargetFacts, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run in a report folder, as the list of runs shows it."""

    folder: str
    """Where it lies below the report folder, parts joined by `/`."""
    target: str
    """The target's name; of a run that cannot be read, its folder's."""
    started: str = ""
    """UTC, ISO 8601."""
    complete: bool = False
    """Whether every planned check was made."""
    counts: Counter[Verdict | None] = field(default_factory=Counter)
    """Claims by verdict; under None, those that were not decided."""
    verdicts: Mapping[str, Verdict | None] = field(default_factory=dict)
    """By claim id what each came to, in the order of the record."""
    facts: TargetFacts | None = None
    """What was tested; None if the run cannot be read."""
    environment: Environment | None = None
    """Where; None if the run cannot be read."""
    has_report: bool = False
    """Whether its page is there."""
    readable: bool = True
    """Whether anything could be read of it."""


class _Verdict(BaseModel):
    """What the list needs of a claim; the rest is skipped, unparsed."""

    id: str
    verdict: Verdict | None


class _Head(BaseModel):
    """What the list needs of a record; the rest is skipped, unparsed."""

    schema_version: int
    started: str
    complete: bool
    target: TargetFacts
    environment: Environment
    claims: list[_Verdict]


def list_runs(report_dir: Path) -> list[Run]:
    """All runs in a report folder: targets by name, in each the newest first.

    A run that was stopped is listed with what its journal holds, one that cannot be read as such.
    """
    targets = sorted(child for child in report_dir.iterdir() if child.is_dir())
    runs = [run for target in targets for run in _runs_of(target)]
    return sorted(runs, key=lambda run: run.target)  # a stable sort: the newest stay first


def _runs_of(target: Path) -> list[Run]:
    try:
        return [_run(folder) for folder in run_folders(target)]
    except UserError:
        return [Run(target.name, target.name, readable=False)]


def _run(folder: Path) -> Run:
    name = f"{folder.parent.name}/{folder.name}"
    has_report = (folder / REPORT_FILE).is_file()
    try:
        head = _head(folder)
    except (OSError, UserError, ValidationError):
        return Run(name, folder.parent.name, has_report=has_report, readable=False)
    return Run(
        folder=name,
        target=head.target.name,
        started=head.started,
        complete=head.complete,
        counts=Counter(claim.verdict for claim in head.claims),
        verdicts={claim.id: claim.verdict for claim in head.claims},
        facts=head.target,
        environment=head.environment,
        has_report=has_report,
    )


def _head(folder: Path) -> _Head | Record:
    """A record's head; of a stopped run, all that its journal holds."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return read(folder)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"'{path}' is too large")
    try:
        head = _parsed(path, path.stat().st_mtime_ns)
    except ValidationError:  # what is read elsewhere is listed too: a byte order mark, a surrogate
        return read(folder)
    return head if head.schema_version == SCHEMA_VERSION else read(folder)


@lru_cache(maxsize=4096)
def _parsed(path: Path, changed: int) -> _Head:  # noqa: ARG001 - who changes a record changes its key
    """A record's head; read once, as the list is made twice at the end of a run."""
    return _Head.model_validate_json(path.read_bytes())
