from __future__ import annotations

from typing import Any

import pytest

from probes.compare.outcomes import decide_outcome
from probes.compare.records import compare
from probes.compare.speed import compare_rates
from probes.errors import UserError
from probes.report.text.console import format_comparison
from probes.schema.claim import Kind
from probes.schema.comparison import Outcome
from probes.schema.record import ClaimRecord, Cost, Record, Verdict
from tests.support.kept_prompts import prompt
from tests.support.samples import ENVIRONMENT, LOADED, check, header, planned, rates, record

UNSEEN = Verdict.NOT_OBSERVED
LEFT_OUT = Verdict.NOT_DECIDED
HOLDS, FAILS, ERROR, ABSENT = Verdict.HOLDS, Verdict.FAILS, Verdict.ERROR, Verdict.NOT_APPLICABLE


def decided(verdict: Verdict | None, reason: str = "") -> ClaimRecord:
    return planned("c", verdict=verdict, reason=reason)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (HOLDS, HOLDS, "same"),
        (HOLDS, FAILS, "newly failing"),
        (HOLDS, ERROR, "newly failing"),
        (HOLDS, UNSEEN, "changed"),
        (UNSEEN, HOLDS, "changed"),
        (UNSEEN, UNSEEN, "same"),
        (UNSEEN, FAILS, "newly failing"),
        (UNSEEN, ABSENT, "not comparable"),
        (HOLDS, ABSENT, "not comparable"),
        (HOLDS, None, "not comparable"),
        (HOLDS, LEFT_OUT, "not comparable"),
        (LEFT_OUT, LEFT_OUT, "not comparable"),
        (LEFT_OUT, FAILS, "newly failing"),
        (FAILS, HOLDS, "fixed"),
        (ERROR, HOLDS, "fixed"),
        (FAILS, FAILS, "same"),
        (FAILS, ERROR, "changed"),
        (FAILS, ABSENT, "not comparable"),
        (ABSENT, HOLDS, "not comparable"),
        (ABSENT, FAILS, "newly failing"),
        (ABSENT, ABSENT, "same"),
        (None, FAILS, "newly failing"),
        (None, HOLDS, "not comparable"),
        (None, None, "not comparable"),
    ],
)
def test_outcome_of_two_verdicts(old: Verdict | None, new: Verdict | None, expected: str) -> None:
    assert decide_outcome(decided(old), decided(new)).value == expected


@pytest.mark.parametrize(
    ("verdict", "added"), [(HOLDS, "added"), (ABSENT, "added"), (FAILS, "newly failing")]
)
def test_outcome_of_a_claim_in_one_run(verdict: Verdict, added: str) -> None:
    assert decide_outcome(None, decided(verdict)).value == added
    assert decide_outcome(decided(verdict), None) is Outcome.REMOVED


@pytest.mark.parametrize(
    ("verdict", "reason", "evidence", "expected"),
    [
        (HOLDS, "", [Outcome.DRIFTED], "drifted"),
        (HOLDS, "", [Outcome.DRIFTED, Outcome.CHANGED], "changed"),
        (FAILS, "", [Outcome.CHANGED], "changed"),
        (ERROR, "another", [], "changed"),
        (ABSENT, "another", [], "not comparable"),
    ],
)
def test_outcome_of_the_same_verdict(
    verdict: Verdict, reason: str, evidence: list[Outcome], expected: str
) -> None:
    assert decide_outcome(decided(verdict), decided(verdict, reason), evidence).value == expected


# --- observations --------------------------------------------------------------------------------


def observed(
    verdict: Verdict, value: float | None, *more: Verdict, kind: Kind = Kind.OBSERVATION
) -> Record:
    """A run of one observation that measured a share, give or take 0.1."""
    interval = None if value is None else {"value": value, "low": value - 0.1, "high": value + 0.1}
    values = {} if interval is None else {"measured": {"share": interval}}
    others = [("c", check(f"other {n}", verdict=each)) for n, each in enumerate(more)]
    plan = header(planned("c", checks=1 + len(more), kind=kind, expected=False))
    return record([("c", check(verdict=verdict, values=values)), *others], plan)


@pytest.mark.parametrize(
    ("old", "new", "outcome", "near"),
    [
        ((HOLDS, 0.5), (UNSEEN, 0.45), "same", True),
        ((UNSEEN, 0.5), (HOLDS, 0.55), "same", True),
        ((HOLDS, 0.5), (UNSEEN, 0.3), "changed", False),
        ((HOLDS, None), (UNSEEN, 0.45), "changed", False),
        ((HOLDS, 0.5), (UNSEEN, None), "changed", False),
        ((HOLDS, 0.5), (FAILS, 0.45), "same", True),
        ((HOLDS, 0.5), (FAILS, 0.3), "newly failing", False),
        ((HOLDS, 0.5), (ERROR, 0.45), "newly failing", False),
        ((HOLDS, 0.5), (ABSENT, 0.45), "not comparable", False),
        ((HOLDS, 0.5, HOLDS), (UNSEEN, 0.45, UNSEEN), "changed", False),
    ],
)
def test_flip_of_an_observation_is_a_change_beyond_its_interval(
    old: tuple[Any, ...], new: tuple[Any, ...], outcome: str, near: bool
) -> None:
    (found,) = compare(observed(*old), observed(*new)).claims
    assert (found.outcome.value, found.near_the_line) == (outcome, near)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [({"text": "another"}, "changed"), ({"share": 0.6}, "drifted"), ({}, "same")],
)
def test_flip_near_the_line_hides_no_other_change(change: dict[str, Any], outcome: str) -> None:
    def run(verdict: Verdict, values: dict[str, Any]) -> Record:
        measured = {"measured": {"share": {"value": 0.5, "low": 0.4, "high": 0.6}}}
        made = [
            ("c", check(verdict=verdict, values=measured)),
            ("c", check("other", values=values)),
        ]
        plan = header(planned("c", checks=2, kind=Kind.OBSERVATION, expected=False))
        return record(made, plan)

    values = {"text": "one", "share": 0.5}
    (found,) = compare(run(HOLDS, values), run(UNSEEN, values | change)).claims
    assert (found.outcome.value, found.near_the_line) == (outcome, True)


@pytest.mark.parametrize("shorter", [0, 1])
def test_flip_with_a_missing_check_is_not_near_the_line(shorter: int) -> None:
    runs = [observed(HOLDS, 0.5, HOLDS), observed(UNSEEN, 0.45, HOLDS)]
    runs[shorter] = observed((HOLDS, UNSEEN)[shorter], 0.5)
    (found,) = compare(*runs).claims
    assert (found.outcome.value, found.near_the_line) == ("changed", False)


def test_flip_of_a_contract_is_never_near_the_line() -> None:
    runs = [observed(v, 0.5, kind=Kind.CONTRACT) for v in (HOLDS, FAILS)]
    assert compare(*runs).outcomes == {Outcome.NEWLY_FAILING}


def test_flip_near_the_line_is_listed() -> None:
    text = format_comparison(compare(observed(HOLDS, 0.5), observed(UNSEEN, 0.45)))
    assert "same: c: holds then, not observed now, near the line" in text


# --- records -------------------------------------------------------------------------------------


def test_environment_lists_differences_only() -> None:
    packages = ENVIRONMENT.packages | {"transformers": "4.46.3", "uncommon": "1"}
    old = record(environment=ENVIRONMENT.model_copy(update={"packages": packages, "threads": 2}))
    assert [(each.name, each.old, each.new) for each in compare(old, record()).environment] == [
        ("package transformers", "4.46.3", "5.23.0"),
        ("package uncommon", "1", "absent"),
    ]


def test_environment_names_other_model_files() -> None:
    one, other = (LOADED.model_copy(update={"fingerprint": c * 64}) for c in "ab")
    (change,) = compare(record(target=one), record(target=other)).environment
    assert (change.name, change.old, change.new) == ("model files", "a" * 12, "b" * 12)


def test_two_targets_are_refused_unless_allowed() -> None:
    other = record(target=LOADED.model_copy(update={"name": "gpt2-xl"}))
    with pytest.raises(UserError, match=r"two targets, 'embedded' and 'gpt2-xl'.*--across-targets"):
        compare(record(), other)
    assert compare(record(), other, across_targets=True).outcomes == {Outcome.SAME}


def test_claims_follow_the_new_run_with_removed_ones_last() -> None:
    old = record(plan=header(planned("a"), planned("b")))
    new = record(plan=header(planned("c"), planned("b")))
    found = compare(old, new)
    assert [(claim.id, claim.outcome.value) for claim in found.claims] == [
        ("c", "added"),
        ("b", "same"),
        ("a", "removed"),
    ]
    assert found.outcomes == {Outcome.ADDED, Outcome.SAME, Outcome.REMOVED}


def test_claims_not_decided_now_are_left_out_but_their_noise_counts() -> None:
    kept = check(values={"kept_prompts": [prompt("P")], "noise": 1e-3, "tolerance": 1.0})
    plan = header(planned("c"), planned("d"))
    old = record([("c", check(values={"p": 0.5})), ("d", kept)], plan)
    new = record([("c", check(values={"p": 0.501}))], header(planned("c")))
    found = compare(old, new, decided_now=True)
    assert [(claim.id, claim.outcome) for claim in found.claims] == [("c", Outcome.SAME)]


# --- speed ---------------------------------------------------------------------------------------


def timed(seconds: float, checks: int = 4) -> Record:
    cost = Cost(seconds=seconds, forward_passes=3, rows=3, tokens=30)
    made = [("c", check(f"t{i}", cost=cost)) for i in range(checks)]
    return record(made, header(planned("c", checks=checks)))


def test_speed_is_a_ratio_over_equal_checks() -> None:
    speed = compare(timed(0.5), timed(0.25)).speed
    assert speed is not None
    assert (speed.value, speed.low) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("one", [timed(0.5, checks=3), timed(0.001)], ids=["few", "short"])
def test_speed_is_unknown_of_few_or_short_checks(one: Record) -> None:
    assert compare(one, one).speed is None


def test_rates_are_paired_whatever_their_order() -> None:
    old, new = rates(), rates(faster=2.0)
    found = compare_rates(reversed(old), new)
    assert len(found) == len([rate for rate in new if rate.per_second])
    for each in found:
        assert each.ratio.low <= each.ratio.value <= each.ratio.high
        assert each.ratio.value == pytest.approx(1.0 if each.what == "copy" else 2.0)


@pytest.mark.parametrize(
    "update",
    [
        {"batch": 64},
        {"cache": "static"},
        {"compiled": True},
        {"what": "prefill"},
        {"prompt_tokens": 512},
        {"new_tokens": 512},
        {"per_second": None},
        {"low": None},
        {"high": None},
    ],
)
def test_rate_measured_in_another_way_has_no_ratio(update: dict[str, Any]) -> None:
    (one,) = [r for r in rates() if (r.what, r.batch, r.cache) == ("decode", 8, "dynamic")]
    other = one.model_copy(update=update)
    assert len(compare_rates([one], [one])) == 1
    assert compare_rates([one], [other]) == compare_rates([other], [one]) == ()
