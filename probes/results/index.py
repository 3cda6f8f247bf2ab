"""List the runs in a report folder, cheaply enough to do so at the end of each run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from probes.errors import UserError
from probes.results.reading import MAX_BYTES, RECORD_FILE, REPORT_FILE, read, run_folders
from probes.schema.record import SCHEMA_VERSION, Environment, Record, TargetFacts, Verdict


@dataclass(frozen=True)
class Run:
    """One run in a report folder, as the list of runs shows it."""

    folder: str
    """Its path below the report folder, parts joined by `/`."""
    target: str
    """The target's name; of a run that cannot be read, its folder's."""
    has_report: bool = False
    started: str = ""
    complete: bool = False
    seed: int | None = None
    verdicts: dict[str, Verdict | None] = field(default_factory=dict)
    """By claim id, in the order of the record; None where a claim was not decided."""
    facts: TargetFacts | None = None
    """None if the run cannot be read."""
    environment: Environment | None = None

    @property
    def readable(self) -> bool:
        """Whether anything could be read of it."""
        return self.facts is not None

    @property
    def counts(self) -> Counter[Verdict]:
        """Number of claims by verdict; those that a stopped run left open are not decided."""
        return Counter(verdict or Verdict.NOT_DECIDED for verdict in self.verdicts.values())


class _Verdict(BaseModel):
    """What the list needs of a claim; the rest is skipped, unparsed."""

    id: str
    verdict: Verdict | None


class _Head(BaseModel):
    """What the list needs of a record; the rest is skipped, unparsed."""

    schema_version: int
    started: str
    complete: bool
    seed: int | None = None
    target: TargetFacts
    environment: Environment
    claims: list[_Verdict]


def list_runs(report_dir: Path) -> list[Run]:
    """Return all runs in a report folder: targets by name, in each the newest first.

    A run that was stopped is listed with what its journal holds, an unreadable one as unreadable.
    """
    targets = sorted(child for child in report_dir.iterdir() if child.is_dir())
    runs = [run for target in targets for run in list_runs_of_target(target)]
    return sorted(runs, key=lambda run: run.target)  # a stable sort: the newest stay first


def list_runs_of_target(target: Path) -> list[Run]:
    """Return the runs in the folder of one target, the newest first."""
    try:
        return [_read_run(folder) for folder in run_folders(target)]
    except UserError:
        return [Run(target.name, target.name)]


def _read_run(folder: Path) -> Run:
    name = f"{folder.parent.name}/{folder.name}"
    has_report = (folder / REPORT_FILE).is_file()
    try:
        head = _read_head(folder)
    except (OSError, UserError, ValidationError):
        return Run(name, folder.parent.name, has_report)
    return Run(
        folder=name,
        target=head.target.name,
        has_report=has_report,
        started=head.started,
        complete=head.complete,
        seed=head.seed,
        verdicts={claim.id: claim.verdict for claim in head.claims},
        facts=head.target,
        environment=head.environment,
    )


def _read_head(folder: Path) -> _Head | Record:
    """Return a record's head; of a stopped run, all that its journal holds."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return read(folder)
    facts = path.stat()
    if facts.st_size > MAX_BYTES:
        raise UserError(f"'{path}' is too large")
    try:
        head = _parse_head(path, facts.st_mtime_ns)
    except ValidationError:  # `read` accepts more: a byte order mark, a surrogate
        return read(folder)
    return head if head.schema_version == SCHEMA_VERSION else read(folder)


@lru_cache(maxsize=4096)
def _parse_head(path: Path, changed: int) -> _Head:  # noqa: ARG001 - a changed record is another key
    """Return a record's head; read once, as the list is made twice at the end of a run."""
    return _Head.model_validate_json(path.read_bytes())
