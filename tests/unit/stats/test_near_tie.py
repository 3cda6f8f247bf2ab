from __future__ import annotations

import math

import pytest

from probes.schema.recorded_output import RecordedNumber
from probes.stats.near_tie import OutputStatus, TextComparison, judge_number, judge_text

EQUAL = TextComparison("P", ("a", "a"), drift=0.03)
FLIPPED = TextComparison("P", ("a b", "a c"), drift=0.01, step=3, tokens=("b", "c"), margin=0.05)
NUMBER = RecordedNumber(value=0.5, tolerance=0.01, origin="float16")


def never() -> float:
    pytest.fail("the noise was measured where no text differs")


def test_equal_text_holds_within_the_tolerance() -> None:
    found = judge_text(EQUAL, tolerance=0.04, noise=never)
    assert (found.outcome, found.holds, found.reason) == (OutputStatus.SAME, True, "")
    assert found.share == pytest.approx(0.75)


@pytest.mark.parametrize("drift", [0.4, math.inf, math.nan])
def test_equal_text_drifts_beyond_the_tolerance(drift: float) -> None:
    text = TextComparison("P", ("a", "a"), drift=drift)
    found = judge_text(text, tolerance=0.04, noise=never)
    assert (found.outcome, found.holds) == (OutputStatus.DRIFTED, False)
    assert found.reason == (
        f"after 'P' a logit moves by {drift}, {drift / 0.04:.3g} times "
        "what rounding explains (0.04)"
    )


def test_changed_token_is_a_near_tie_within_twice_the_noise() -> None:
    tie = judge_text(FLIPPED, tolerance=0.04, noise=lambda: 0.03)
    assert (tie.outcome, tie.holds) == (OutputStatus.NEAR_TIE, True)
    assert tie.reason == (
        "after 'P' token 3 is 'c', recorded 'b': their logits lie 0.05 apart, a near-tie where "
        "noise moves each by 0.03\nrecorded: 'a b'\nnow:      'a c'"
    )


@pytest.mark.parametrize(("tolerance", "noise"), [(0.04, 0.02), (0.02, 9.0)])
def test_changed_token_fails_beyond_the_noise(tolerance: float, noise: float) -> None:
    """Noise above the tolerance explains no more than the tolerance."""
    found = judge_text(FLIPPED, tolerance=tolerance, noise=lambda: noise)
    assert (found.outcome, found.holds) == (OutputStatus.CHANGED, False)
    assert "0.05 apart, no near-tie where noise moves each by 0.02" in found.reason


def test_changed_token_with_a_drift_is_no_near_tie() -> None:
    found = judge_text(FLIPPED, tolerance=0.001, noise=never)
    assert found.outcome is OutputStatus.DRIFTED
    assert found.reason.startswith(
        "after 'P' a logit moves by 0.01, 10 times what rounding explains (0.001); "
        "after 'P' token 3 is 'c', recorded 'b', 0.05 apart\nrecorded: 'a b'"
    )


def test_prompt_with_other_ids_is_not_compared() -> None:
    text = TextComparison("P", ("a", "a"), same_prompt=False)
    found = judge_text(text, tolerance=1.0, noise=never)
    assert (found.outcome, found.holds) == (OutputStatus.OTHER_PROMPT, False)
    assert found.reason.startswith("the prompt 'P' has other token ids than were recorded")


@pytest.mark.parametrize(
    ("now", "share", "outcome"),
    [
        (0.5, 0.0, OutputStatus.SAME),
        (0.509, 0.9, OutputStatus.SAME),
        (0.525, 2.5, OutputStatus.DRIFTED),
        (math.inf, math.inf, OutputStatus.DRIFTED),
        (math.nan, math.nan, OutputStatus.DRIFTED),
    ],
)
def test_number_drifts_beyond_its_tolerance(
    now: float, share: float, outcome: OutputStatus
) -> None:
    found = judge_number("p", NUMBER, now)
    assert found.outcome is outcome
    assert found.share == pytest.approx(share, nan_ok=True)
    assert ("times the drift tolerated (float16)" in found.reason) is not found.holds
