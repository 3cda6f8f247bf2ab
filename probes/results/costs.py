"""Read what each claim took in the last runs on a target."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from probes._util.jsonfile import read_bytes
from probes.errors import UserError
from probes.results.journal import target_folder_name
from probes.results.reading import MAX_BYTES, RECORD_FILE, run_folders
from probes.schema.record import OPEN, Cost, Verdict

MOST_RUNS = 5
"""Runs that are read: each takes some ten milliseconds."""


class _Check(BaseModel):
    verdict: Verdict
    cost: Cost


class _Claim(BaseModel):
    id: str
    verdict: Verdict | None
    planned: int
    deselected: int = 0
    evidence: list[_Check]


class _Claims(BaseModel):
    """What is needed of a record; the rest is skipped, unparsed."""

    claims: list[_Claim]


def read_costs(report_dir: Path, target: str) -> dict[str, Cost]:
    """Return what each claim took in the newest run on a target that made all its checks.

    Claims that were not applicable are left out. What cannot be read is skipped.
    """
    costs: dict[str, Cost] = {}
    folder = report_dir / target_folder_name(target)
    for run in _list_runs(folder):
        try:
            claims = _Claims.model_validate_json(read_bytes(run / RECORD_FILE, MAX_BYTES)).claims
        except (UserError, ValidationError):  # of a run that was stopped, or of another format
            continue
        for claim in claims:
            is_whole = len(claim.evidence) >= claim.planned and not claim.deselected
            if is_whole and claim.verdict not in (*OPEN, Verdict.NOT_APPLICABLE):
                spent = sum((check.cost for check in claim.evidence), Cost())
                costs.setdefault(claim.id, spent)
    return costs


def _list_runs(folder: Path) -> list[Path]:
    try:
        return run_folders(folder)[:MOST_RUNS]
    except UserError:  # the first run on it
        return []
