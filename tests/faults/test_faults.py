"""Every fault is seen: the claims it names fail while it lasts. That they hold without it
is what `pytest tests/claims` shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.report.faults import FILE
from probes.schema.claim import Need, catalogue
from tests.faults.catalogue import CATALOGUE
from tests.faults.page import (
    COMMAND,
    DATA_COMMAND,
    FINDINGS,
    FINDINGS_COMMAND,
    ON_STAND_INS,
    data,
    page,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.conftest import Verdicts

ROOT = Path(__file__).parents[2]

UNDECIDABLE = {claim.id for claim in catalogue().values() if Need.MISTRAL_7B in claim.needs}
"""Claims about the weights of Mistral-7B, which the embedded model cannot decide."""


WRITTEN: dict[str, dict[str, str]] = json.loads(FINDINGS.read_text(encoding="utf-8"))


def begins(finding: str) -> list[str]:
    """A finding's first words, without what it quotes and counts.

    >>> begins("'Paris' leads, not 'Tokyo'") == begins("'Rome' leads, not 'Tokyo'")
    True
    """
    plain = re.sub(r"'[^']*'|\"[^\"]*\"", "Q", finding)
    return re.sub(r"[\d.,+-]+(?:e[+-]\d+)?", "#", plain).split()[:4]


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


def test_claims_say_what_the_page_quotes(
    results: Mapping[str, Verdicts], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--all-claims", default=False):
        pytest.skip("other checks fail first where all are made")
    for fault, claims in results.items():
        for claim in CATALOGUE[fault].claims:
            said, quoted = short(claims[claim]["fails"][0]), WRITTEN[fault][claim]
            assert begins(said) == begins(quoted), f"make them anew: {FINDINGS_COMMAND}"


def test_findings_are_written_down_for_every_fault() -> None:
    found = {fault: {*claims} for fault, claims in WRITTEN.items()}
    expected = {fault.name: {*fault.claims} for fault in CATALOGUE.values()}
    assert found == expected, f"make them anew: {FINDINGS_COMMAND}"


def test_page_is_current() -> None:
    written = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert written == page(), f"make it anew: {COMMAND}"


def test_what_the_report_shows_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == data(), f"make it anew: {DATA_COMMAND}"
