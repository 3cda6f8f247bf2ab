"""Every fault is seen: the claims it names fail while it lasts. That they hold without it
is what `pytest tests/claims` shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.claims import Need, catalogue
from probes.report.faults import FILE
from tests.controls.faults import CATALOGUE, ON_STAND_INS
from tests.controls.page import COMMAND, DATA_COMMAND, FINDINGS, FINDINGS_COMMAND, data, page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.controls.conftest import Verdicts

ROOT = Path(__file__).parents[2]

UNDECIDABLE = {claim.id for claim in catalogue().values() if Need.MISTRAL_7B in claim.needs}
"""Claims about the weights of Mistral-7B, which the embedded model cannot decide."""


@pytest.mark.parametrize("name", CATALOGUE)
def test_claims_fail_under_the_fault(results: Mapping[str, Verdicts], name: str) -> None:
    for claim in CATALOGUE[name].claims:
        checks = results[name].get(claim, {})
        assert "fails" in checks, f"{claim} does not see it: {checks or 'nothing was decided'}"
        wordless = [
            reason for reason in checks["fails"] if reason.partition(": ")[2].startswith("assert")
        ]
        assert not wordless, f"{claim} fails without a word: {wordless}"
    broken = {
        claim: checks["error"] for claim, checks in results[name].items() if "error" in checks
    }
    assert not broken, f"claims that break instead of failing: {broken}"


def test_every_decidable_claim_is_turned_red_by_a_fault() -> None:
    caught = {claim for fault in CATALOGUE.values() for claim in fault.claims}
    assert caught == {*catalogue()} - UNDECIDABLE
    assert {*ON_STAND_INS} == UNDECIDABLE


def test_findings_are_written_down_for_every_fault() -> None:
    written = json.loads(FINDINGS.read_text(encoding="utf-8"))
    found = {fault: {*claims} for fault, claims in written.items()}
    expected = {fault.name: {*fault.claims} for fault in CATALOGUE.values()}
    assert found == expected, f"make them anew: {FINDINGS_COMMAND}"


def test_page_is_current() -> None:
    written = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert written == page(), f"make it anew: {COMMAND}"


def test_what_the_report_shows_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == data(), f"make it anew: {DATA_COMMAND}"
