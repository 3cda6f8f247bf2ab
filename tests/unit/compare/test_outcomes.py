from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probes.compare.outcomes import decide_outcome
from probes.compare.records import compare
from probes.compare.speed import compare_rates
from probes.errors import UserError
from probes.schema.comparison import Outcome
from probes.schema.record import Cost, Verdict
from tests.support.kept_prompts import prompt
from tests.support.samples import ENVIRONMENT, LOADED, check, header, planned, rates, record

if TYPE_CHECKING:
    from probes.schema.record import ClaimRecord, Record

HOLDS, FAILS, ERROR, ABSENT = Verdict.HOLDS, Verdict.FAILS, Verdict.ERROR, Verdict.NOT_APPLICABLE


def decided(verdict: Verdict | None, reason: str = "") -> ClaimRecord:
    return planned("c", verdict=verdict, reason=reason)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (HOLDS, HOLDS, "same"),
        (HOLDS, FAILS, "newly failing"),
        (HOLDS, ERROR, "newly failing"),
        (HOLDS, ABSENT, "not comparable"),
        (HOLDS, None, "not comparable"),
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
