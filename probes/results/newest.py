"""Read what each target's newest runs measured, cheaply enough to do so at the end of each run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from probes.errors import UserError
from probes.results.index import Run
from probes.results.reading import MAX_BYTES, RECORD_FILE, read
from probes.schema.record import SCHEMA_VERSION, Check, Record


class Evidence(BaseModel):
    """What one check attached; the rest of a check is skipped."""

    name: str
    values: dict[str, JsonValue]


class _Claim(BaseModel):
    id: str
    evidence: list[Evidence]


class _Claims(BaseModel):
    """What the pictures need of a record; the rest is skipped."""

    schema_version: int
    claims: list[_Claim]


def read_newest(
    report_dir: Path, runs: Sequence[Run], claims: Collection[str]
) -> dict[str, dict[str, Sequence[Evidence | Check]]]:
    """Return by target, then by claim, the checks of the newest run that has the claim.

    A run of a few claims thus hides nothing that an earlier run measured. The target that ran last
    comes first. What cannot be read is left out.
    """
    newest: dict[str, dict[str, Run]] = {}
    for run in sorted(runs, key=lambda run: run.started, reverse=True):
        if run.readable:
            of_target = newest.setdefault(run.target, {})
            of_target |= {
                claim: run for claim in claims if claim in run.verdicts.keys() - of_target
            }
    return {target: _read_claims(report_dir, runs) for target, runs in newest.items()}


def _read_claims(
    report_dir: Path, runs: Mapping[str, Run]
) -> dict[str, Sequence[Evidence | Check]]:
    """Return the checks of each claim in its run, each run read once."""
    found: dict[str, Sequence[Evidence | Check]] = {}
    for folder in {run.folder for run in runs.values()}:
        try:
            record = _read(report_dir / folder)
        except (OSError, UserError, ValidationError):
            continue
        checks = {claim.id: claim.evidence for claim in record.claims}
        found |= {
            claim: checks[claim]
            for claim, run in runs.items()
            if run.folder == folder and claim in checks
        }
    return found


def _read(folder: Path) -> _Claims | Record:
    """Return a record's evidence; of a stopped run, what its journal holds."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return read(folder)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"'{path}' is too large")
    try:
        found = _Claims.model_validate_json(path.read_bytes())
    except ValidationError:  # `read` accepts more: a byte order mark, a surrogate
        return read(folder)
    # No upgrade of an older format changes what a check attached.
    return found if 0 < found.schema_version <= SCHEMA_VERSION else read(folder)
