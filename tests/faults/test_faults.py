"""Every fault is seen: the claims it names fail while it lasts; `pytest tests/claims` shows that
they hold without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.data.tokenizer_texts import STORIES
from probes.measure.greedy import generate_greedy
from probes.report.html.faults import FILE
from probes.schema.claim import catalogue
from tests.claims import test_greedy as greedy
from tests.claims import test_sampling as sampling
from tests.faults.catalogue import CATALOGUE, choose_one_for_each_claim
from tests.faults.page import (
    COMMAND,
    DATA_COMMAND,
    FINDINGS,
    FINDINGS_COMMAND,
    ON_A_SERVER,
    ON_STAND_INS,
    data,
    page,
    short,
)
from tests.faults.runner import few_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes import Model
    from probes.engines.base import Generation
    from tests.faults.conftest import Verdicts

ROOT = Path(__file__).parents[2]

ON_A_SERVER_ALONE = {
    claim.id for claim in catalogue().values() if {"reference", "streams"} & {*claim.needs}
}
"""Claims about engines."""

UNDECIDABLE = {claim.id for claim in catalogue().values() if "mistral-7b" in claim.needs}
"""Claims about the weights of Mistral-7B, which the embedded model cannot decide."""


WRITTEN: dict[str, dict[str, str]] = json.loads(FINDINGS.read_text(encoding="utf-8"))


def begins(finding: str) -> list[str]:
    """A finding's first words, without what it quotes and counts.

    >>> begins("'Paris' leads, not 'Tokyo'") == begins("'Rome' leads, not 'Tokyo'")
    True
    """
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|\bmodel\.layers\S*", "Q", finding)  # the worst layer varies
    return re.sub(r"[\d.,+-]+(?:e[+-]\d+)?", "#", plain).split()[:4]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try one fault for each claim, or all."""
    if "fault" in metafunc.fixturenames:
        options = ("--all-faults", "--all-claims")
        every = any(metafunc.config.getoption(option, default=False) for option in options)
        tried = {each.name: each.claims for each in CATALOGUE.values()}
        tried = tried if every else choose_one_for_each_claim()
        metafunc.parametrize(("fault", "claims"), tried.items(), ids=tried)


def test_fault_turns_its_claims_red(
    fault: str,
    claims: Sequence[str],
    decide_under: Callable[[str, Sequence[str]], Verdicts],
    all_claims: bool,
) -> None:
    verdicts = decide_under(fault, () if all_claims else claims)
    broken = {claim: checks["error"] for claim, checks in verdicts.items() if "error" in checks}
    assert not broken, f"claims that end in an error instead of failing: {broken}"
    for claim in claims:
        checks = verdicts.get(claim, {})
        assert "fails" in checks, f"{claim} does not see it: {checks or 'nothing was decided'}"
        findings = [reason.partition(": ")[2] for reason in checks["fails"]]
        print(f"{claim}: {short(checks['fails'][0])}")
        assert not any(finding.startswith("assert") for finding in findings), (
            f"{claim} fails without saying what it found: {findings}"
        )
        if not all_claims:  # else other checks fail first
            found, quoted = short(checks["fails"][0]), WRITTEN[fault][claim]
            assert begins(found) == begins(quoted), f"regenerate them: {FINDINGS_COMMAND}"


def test_few_samples_hold_without_a_fault(own_model: Model) -> None:
    """Those of questions: test_task_faults.py."""

    def stories(length: int) -> list[Generation]:
        return generate_greedy(own_model, STORIES, length)

    with few_samples():
        for prompt in sampling.HOT_PROMPTS:
            sampling.test_wide_hot_texts_vary_more_and_are_less_likely(own_model, 5, {}, prompt)
        greedy.test_long_greedy_text_repeats_itself_more_than_sampled_text(
            own_model, 5, stories, {}
        )


def test_every_decidable_claim_has_a_fault() -> None:
    caught = {claim for fault in CATALOGUE.values() for claim in fault.claims}
    assert caught == {*catalogue()} - UNDECIDABLE - ON_A_SERVER_ALONE
    assert {*ON_STAND_INS} == UNDECIDABLE
    assert {*ON_A_SERVER} == ON_A_SERVER_ALONE


def test_findings_cover_every_fault() -> None:
    found = {fault: {*claims} for fault, claims in WRITTEN.items()}
    expected = {fault.name: {*fault.claims} for fault in CATALOGUE.values()}
    assert found == expected, f"regenerate them: {FINDINGS_COMMAND}"


def test_page_of_faults_is_current() -> None:
    written = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert written == page(), f"regenerate it: {COMMAND}"


def test_faults_in_the_report_are_current() -> None:
    assert FILE.read_text(encoding="utf-8") == data(), f"regenerate it: {DATA_COMMAND}"
