from __future__ import annotations

import math
from statistics import pstdev
from typing import TYPE_CHECKING, Any

import pytest

from probes.compare.drift import divergence, log_probabilities
from probes.compare.evidence import SHOWN, Explained, differences
from probes.compare.logprobs import LEAST_NOISE, Kept, first_token, kept, noise_between
from probes.compare.outcomes import decide_outcome
from probes.compare.records import compare
from probes.compare.speed import compare_rates
from probes.errors import UserError
from probes.schema.claim import catalogue
from probes.schema.comparison import Outcome
from probes.schema.record import ClaimRecord, Cost, Verdict
from probes.schema.recorded_output import RecordedText
from tests.support.samples import ENVIRONMENT, LOADED, check, header, planned, rates, record

if TYPE_CHECKING:
    from probes.schema.record import Record

HOLDS, FAILS, ERROR, ABSENT = Verdict.HOLDS, Verdict.FAILS, Verdict.ERROR, Verdict.NOT_APPLICABLE
NOISELESS = Explained(noise=LEAST_NOISE)


def decided(verdict: Verdict | None, reason: str = "", **values: Any) -> ClaimRecord:
    evidence = (check(verdict=verdict, values=values),) if verdict else ()
    return planned("c", verdict=verdict, reason=reason, evidence=evidence)


def changed(old: Any, new: Any, explained: Explained = NOISELESS) -> list[Outcome]:
    """What became of one value."""
    found = differences(decided(HOLDS, x=old), decided(HOLDS, x=new), explained)
    return [each.outcome for each in found]


# --- outcomes ------------------------------------------------------------------------------------


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
def test_every_pair_of_verdicts_has_its_outcome(
    old: Verdict | None, new: Verdict | None, expected: str
) -> None:
    assert decide_outcome(decided(old), decided(new)).value == expected


def test_a_claim_in_one_run_alone_is_added_or_removed_or_newly_failing() -> None:
    assert decide_outcome(None, decided(HOLDS)) is Outcome.ADDED
    assert decide_outcome(None, decided(ABSENT)) is Outcome.ADDED
    assert decide_outcome(None, decided(FAILS)) is Outcome.NEWLY_FAILING
    assert decide_outcome(decided(HOLDS), None) is Outcome.REMOVED
    assert decide_outcome(decided(FAILS), None) is Outcome.REMOVED
    with pytest.raises(ValueError, match=r"^there is no claim to compare$"):
        decide_outcome(None, None)


def test_evidence_decides_where_the_verdict_stays() -> None:
    holds = decided(HOLDS)
    assert decide_outcome(holds, holds, [Outcome.DRIFTED]) is Outcome.DRIFTED
    assert decide_outcome(holds, holds, [Outcome.DRIFTED, Outcome.CHANGED]) is Outcome.CHANGED
    assert decide_outcome(decided(FAILS), decided(FAILS), [Outcome.CHANGED]) is Outcome.CHANGED
    assert decide_outcome(decided(ERROR, "a"), decided(ERROR, "b")) is Outcome.CHANGED


def test_not_applicable_for_another_reason_is_not_comparable() -> None:
    assert decide_outcome(decided(ABSENT, "a"), decided(ABSENT, "b")) is Outcome.NOT_COMPARABLE


# --- evidence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0.5, 0.5, []),
        (0.5, 0.5 + 1e-5, []),
        (0.5, 0.51, ["drifted"]),
        (1e6, 1e6 + 1, []),
        ("NaN", "NaN", []),
        ("NaN", 0.5, ["drifted"]),
        ("Infinity", "Infinity", []),
        (0.5, "Infinity", ["drifted"]),
        ("-Infinity", 0.5, ["drifted"]),
        (24, 25, ["drifted"]),
        (1000, 1040, ["drifted"]),
        (24, 30, ["changed"]),
        (1, 2, ["drifted"]),
        (1, 3, ["changed"]),
        (True, False, ["changed"]),
        (None, 0.5, ["changed"]),
        ("a text", "another", ["changed"]),
        ([1, 2], [1, 2, 3], ["changed"]),
        ({"a": 1}, {"b": 1}, ["changed", "changed"]),
        ({"id": 7}, {"id": 8}, ["changed"]),
        ({"ids": [7, 8]}, {"ids": [7, 9]}, ["changed"]),
        ({"token_ids": [20000]}, {"token_ids": [20500]}, ["changed"]),
        (10**400, 10**400, []),
        (2**53 - 1, 2**53, ["drifted"]),
        (2**53 + 1, 2**53 + 2, ["changed"]),
        ([None, 0.5], [None, 0.5 + 1e-9], []),
        (0.004, 0.0001, ["drifted"]),
        ({"a": {"b": [1.0, "x"]}}, {"a": {"b": [1.0, "x"]}}, []),
    ],
)
def test_every_kind_of_value_has_its_outcome(old: Any, new: Any, expected: list[str]) -> None:
    assert [each.value for each in changed(old, new)] == expected


@pytest.mark.parametrize(
    ("old", "new", "name", "shown"),
    [
        ({"a": [{"b": "c"}]}, {"a": [{"b": "d"}]}, "x.a[0].b", ("c", "d")),
        ({"a": [{"b": 1.0}]}, {"a": [{"b": 2.0}]}, "x.a[*].b", (1.0, 2.0)),
        (0.5, "Infinity", "x", (0.5, "Infinity")),
        ("-Infinity", 0.5, "x", ("-Infinity", 0.5)),
        ("NaN", -0.5, "x", ("NaN", -0.5)),
        (24, 25, "x", (24, 25)),
        ("a" * SHOWN, "a" * (SHOWN + 1), "x", ("a" * SHOWN, "a" * (SHOWN - 1) + "…")),
        ([1, 2, 3], {"a": 1}, "x", ("3 items", "1 entries")),
        (True, None, "x", (True, None)),
        ({"a": 1}, {}, "x.a", (1, "absent")),
        ({}, {"a": "b"}, "x.a", ("absent", "b")),
    ],
)
def test_a_difference_says_where_and_what(old: Any, new: Any, name: str, shown: Any) -> None:
    (found,) = differences(decided(HOLDS, x=old), decided(HOLDS, x=new), NOISELESS)
    assert (found.name, (found.old, found.new)) == (name, shown)
    # 1 is equal to 1.0 and to True, and is not the same to a reader.
    assert [type(each) for each in (found.old, found.new)] == [type(each) for each in shown]


def test_another_id_has_no_effect_as_ids_are_no_quantities() -> None:
    (found,) = differences(decided(HOLDS, id=7), decided(HOLDS, id=8), NOISELESS)
    assert (found.outcome, found.effect) == (Outcome.CHANGED, None)


def test_rounding_explains_no_change_of_a_count() -> None:
    assert changed(1000, 1001, Explained(noise=1e-3)) == [Outcome.DRIFTED]
    assert changed(1000.0, 1001.0, Explained(noise=1e-3)) == []


def test_numbers_that_all_moved_alike_have_no_effect_size() -> None:
    old, new = ([{"p": p + moved} for p in (1.0, 2.0, 3.0)] for moved in (0.0, 0.5))
    (found,) = differences(decided(HOLDS, x=old), decided(HOLDS, x=new), NOISELESS)
    assert found.effect is not None
    assert found.effect.size is None
    estimate = found.effect.difference
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


def test_noise_explains_more_where_more_was_measured() -> None:
    assert changed(0.5, 0.52) == [Outcome.DRIFTED]
    assert changed(0.5, 0.52, Explained(noise=1e-3)) == []
    assert changed(0.5, 0.55, Explained(noise=10.0)) == [Outcome.DRIFTED]
    assert changed(0.09, 0.0001, Explained(noise=10.0)) == [Outcome.DRIFTED]


def test_an_authors_own_evidence_is_compared_whatever_its_name() -> None:
    for name in ("table", "noise", "made"):
        old, new = (decided(HOLDS, "", **{name: number}) for number in (1.0, 2.0))
        found = differences(old, new, NOISELESS)
        assert [each.outcome for each in found] == [Outcome.DRIFTED]


def test_of_built_in_claims_what_says_how_the_run_was_made_is_left_out() -> None:
    name = next(iter(catalogue()))
    old, new = (
        planned(name, evidence=[check(values={"table": number, "noise": number, "p": number})])
        for number in (1.0, 2.0)
    )
    assert [each.name for each in differences(old, new, NOISELESS)] == ["p"]


def test_what_changed_is_told_before_what_drifted() -> None:
    old, new = decided(HOLDS, a=1.0, b="b", c=1.0), decided(HOLDS, a=2.0, b="x", c=2.0)
    found = [each.name for each in differences(old, new, NOISELESS)]
    assert found[0] == "b"
    assert sorted(found) == ["a", "b", "c"]


def test_numbers_of_one_name_are_told_together_with_their_effect() -> None:
    old = [{"temperature": t, "p": 0.5} for t in (0.2, 0.6, 1.0)]
    new = [{"temperature": t, "p": p} for t, p in ((0.2, 0.6), (0.6, 0.7), (1.0, 0.5))]
    (found,) = differences(decided(HOLDS, grid=old), decided(HOLDS, grid=new), NOISELESS)
    assert found.name == "grid[*].p"
    assert (found.old, found.new) == (0.5, 0.7)
    effect = found.effect
    assert effect is not None
    assert (effect.numbers, effect.moved) == (3, 2)
    assert effect.largest == pytest.approx(0.2)
    assert effect.difference.value == pytest.approx(0.1)
    # Student's t with 2 degrees of freedom, standard deviation 0.1, three differences.
    assert effect.difference.high - 0.1 == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    assert effect.size == pytest.approx(1.0)


def test_a_single_number_has_the_interval_that_rounding_leaves() -> None:
    (found,) = differences(decided(HOLDS, p=0.5), decided(HOLDS, p=0.6), Explained(noise=1e-4))
    assert found.effect is not None
    assert found.effect.size is None
    estimate = found.effect.difference
    assert estimate.value == pytest.approx(0.1)
    assert estimate.high - estimate.value == pytest.approx(120 * 1e-4 * 0.6 + 10 * 1e-4)


def test_evidence_of_one_run_alone_is_no_difference_but_a_check_is() -> None:
    assert differences(decided(HOLDS, x=1), decided(HOLDS, x=1, y=2), NOISELESS) == []
    old = planned("c", evidence=(check("a"), check("b")))
    new = planned("c", evidence=(check("a"), check("b", ABSENT)))
    (found,) = differences(old, new, NOISELESS)
    assert (found.check, found.name, found.old, found.new) == (
        "", "b", "holds", "not applicable",
    )  # fmt: skip
    fewer = planned("c", evidence=(check("a"),))
    for one, other, shown in (
        (old, fewer, ("holds", "absent")),
        (fewer, old, ("absent", "holds")),
    ):
        (found,) = differences(one, other, NOISELESS)
        assert (found.old, found.new) == shown
    assert differences(old, fewer.model_copy(update={"deselected": 1}), NOISELESS) == []


# --- greedy texts --------------------------------------------------------------------------------


def greedy(last: int, gap: float, text: str) -> dict[str, Any]:
    """A text of two tokens whose second stands `gap` before the other."""
    other = 7 if last == 8 else 8
    return {
        "prompt_ids": [1],
        "ids": [5, last],
        "text": text,
        "top_ids": [[5, 9], [last, other]],
        "top_logits": [[9.0, 1.0], [3.0, 3.0 - gap]],
    }


def texts(gap: float) -> tuple[ClaimRecord, ClaimRecord]:
    old = decided(HOLDS, text="a b and on", kept_texts=[greedy(7, gap, "a b")])
    new = decided(HOLDS, text="a c and so", kept_texts=[greedy(8, gap, "a c")])
    return old, new


def of_texts(gap: float) -> Any:
    old, new = texts(gap)
    prompts = {"kept_prompts": [prompt("P")], "noise": 0.01, "tolerance": 0.05}
    plan = header(planned("c"), planned("d"))
    found = compare(
        *(
            record([("c", each.evidence[0]), ("d", check(values=prompts))], plan)
            for each in (old, new)
        )
    )
    return next(claim for claim in found.claims if claim.id == "c")


def test_a_text_that_differs_at_a_near_tie_drifted() -> None:
    claim = of_texts(gap=0.009)
    assert claim.outcome is Outcome.DRIFTED
    (found,) = claim.differences
    token = found.token
    assert token is not None
    assert (token.step, token.ids, token.near_tie, token.at_least) == (1, (7, 8), True, False)
    assert (token.margin, token.noise) == (pytest.approx(0.018), 0.01)


def test_a_text_that_differs_at_no_near_tie_changed() -> None:
    claim = of_texts(gap=0.011)
    assert claim.outcome is Outcome.CHANGED
    assert claim.differences[0].token.near_tie is False


def test_a_tie_now_that_was_none_before_is_no_near_tie() -> None:
    old, new = texts(0.001)
    old.evidence[0].values["kept_texts"][0]["top_logits"][1][1] = -4.0  # type: ignore[index, call-overload]
    prompts = {"kept_prompts": [prompt("P")], "noise": 0.01, "tolerance": 0.05}
    plan = header(planned("c"), planned("d"))
    runs = (
        record([("c", each.evidence[0]), ("d", check(values=prompts))], plan) for each in (old, new)
    )
    claim = next(claim for claim in compare(*runs).claims if claim.id == "c")
    assert claim.outcome is Outcome.CHANGED


def test_a_margin_is_at_least_that_of_the_kept_logits_where_a_token_is_not_among_them() -> None:
    old, new = texts(0.01)
    for each in (old, new):
        each.evidence[0].values["kept_texts"][0]["top_ids"][1][1] = 99  # type: ignore[index, call-overload]
    found = compare(
        *(record([("c", each.evidence[0])], header(planned("c"))) for each in (old, new))
    )
    token = found.claims[0].differences[0].token
    assert token is not None
    assert (token.at_least, token.near_tie) == (True, False)
    assert token.margin == pytest.approx(0.02)


def recorded(ids: tuple[int, ...] = (5, 7), text: str = "a b", **more: Any) -> RecordedText:
    """A greedy text in whose every step the tokens 5, 7 and 8 stand half a logit apart."""
    steps = {"top_ids": [[5, 7, 8]] * len(ids), "top_logits": [[3.0, 2.5, 2.0]] * len(ids)}
    return RecordedText(**{"prompt_ids": (1,), "ids": ids, "text": text, **steps, **more})


OLD, NEW = recorded(), recorded((5, 8), "a c")
NOT_KEPT: dict[str, Any] = {"top_ids": (), "top_logits": ()}


@pytest.mark.parametrize(
    ("old", "new", "ids", "margin", "at_least"),
    [
        (OLD, NEW, (7, 8), 1.0, False),
        # A text that ends where the other goes on.
        (recorded((5,), "a"), NEW, (None, 8), 0.0, True),
        (OLD, recorded((5,), "a"), (7, None), 0.0, True),
        # A token that is not among the kept ones, in both and in one.
        (OLD, recorded((5, 9), "a c"), (7, 9), 2.0, True),
        (OLD, recorded((5, 8), "a c", top_ids=[[5, 6, 8]] * 2), (7, 8), 1.5, True),
        # No logits in one, in the other, and at this step alone.
        (recorded(**NOT_KEPT), NEW, (7, 8), 0.5, True),
        (OLD, recorded((5, 8), "a c", **NOT_KEPT), (7, 8), 0.5, True),
        (
            OLD,
            recorded((5, 8), "a c", top_ids=[[5], []], top_logits=[[3.0], []]),
            (7, 8),
            0.5,
            True,
        ),
    ],
)
def test_the_first_token_that_differs_is_told_with_the_margin_of_both(
    old: RecordedText,
    new: RecordedText,
    ids: tuple[int | None, int | None],
    margin: float,
    at_least: bool,
) -> None:
    for noise in (0.5, 0.49):  # a margin of twice the noise is a near tie
        found = first_token(f"{old.text} and on", f"{new.text} and so", ([old], [new]), noise)
        assert found is not None
        assert (found.step, found.ids, found.noise) == (1, ids, noise)
        assert (found.margin, found.at_least) == (margin, at_least)
        assert found.near_tie == (not at_least and noise == 0.5)


@pytest.mark.parametrize(
    ("others_before", "others_after"),
    [
        ([recorded(text="b")], []),
        ([recorded((), "")], []),
        ([], [recorded((5, 9), "d")]),
        ([], [recorded((), "")]),
        ([], [recorded((5, 9), "a c", prompt_ids=(2,))]),
    ],
    ids=["another old text", "none", "another new text", "an empty one", "another prompt's"],
)
def test_texts_are_found_among_others_by_how_they_begin_and_by_their_prompt(
    others_before: list[RecordedText], others_after: list[RecordedText]
) -> None:
    kept_texts = [*others_before, OLD], [*others_after, NEW]
    found = first_token("a b", "a c", kept_texts, 0.5)
    assert found is not None
    assert found.ids == (7, 8)
    assert first_token("a b", "a c", (others_before, [NEW]), 0.5) is None
    assert first_token("a b", "a c", ([OLD], others_after), 0.5) is None


def test_texts_that_differ_later_than_logits_are_kept_have_no_first_token() -> None:
    assert first_token("a b and on", "a b and so", ([OLD], [OLD]), 0.5) is None


def test_a_text_that_became_something_else_has_no_first_token() -> None:
    explained = Explained(noise=0.5, texts=([OLD], [NEW]))
    assert changed("a b and on", "a c and so", explained) == [Outcome.DRIFTED]
    assert changed("a b and on", ["a c and so"], explained) == [Outcome.CHANGED]
    assert changed(["a b and on"], "a c and so", explained) == [Outcome.CHANGED]


# --- distributions -------------------------------------------------------------------------------


def prompt(
    name: str, top: float = 2.0, ids: tuple[int, ...] = (1, 5), **more: Any
) -> dict[str, Any]:
    """A prompt of two tokens, after each of which two of three tokens are kept."""
    kept_prompt = {
        "prompt": name,
        "ids": list(ids),
        "top_ids": [[3, 4]] * 2,
        "top_logits": [[top, 1.0]] * 2,
        "log_rest": [0.0, 0.0],
        "likeliest": ["x", "x"],
    }
    return kept_prompt | more


def keeping(
    *prompts: dict[str, Any], noise: float = 1e-5, tolerance: float = 0.01, **more: Any
) -> Record:
    values = {"kept_prompts": list(prompts), "noise": noise, "tolerance": tolerance}
    return record([("d", check(values=values))], header(planned("d")), **more)


def test_equal_distributions_have_not_moved() -> None:
    found = compare(keeping(prompt("P")), keeping(prompt("P"))).drift
    assert found is not None
    assert found.outcome is Outcome.SAME
    assert (found.prompts, found.positions, found.largest_change) == (1, 2, 0.0)
    assert found.kl is not None
    assert found.kl.value == 0
    assert found.same_top is not None
    assert found.same_top.value == 1
    assert found.same_top.low < 1


def test_drift_is_measured_as_the_formulas_say() -> None:
    found = compare(keeping(prompt("P")), keeping(prompt("P", top=2.5))).drift
    assert found is not None
    assert found.outcome is Outcome.DRIFTED
    weights = [[math.exp(top), math.exp(1.0), 1.0] for top in (2.0, 2.5)]
    p, q = ([w / sum(row) for w in row] for row in weights)
    assert found.kl is not None
    assert found.kl.value == pytest.approx(
        sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    )
    assert found.rms_dp is not None
    assert found.rms_dp.value == pytest.approx(q[0] - p[0])
    assert found.largest_change == pytest.approx(math.log(p[1] / q[1]))


def test_intervals_come_from_drawing_whole_prompts() -> None:
    old = [prompt(f"P{i}", ids=(i, 5)) for i in range(10)]
    new = [prompt(f"P{i}", ids=(i, 5), top=2.0 + i / 10) for i in range(10)]
    found = compare(keeping(*old), keeping(*new)).drift
    assert found is not None
    assert found.kl is not None
    assert 0 < found.kl.low < found.kl.value < found.kl.high
    again = compare(keeping(*old), keeping(*new)).drift
    assert again == found


def test_intervals_are_as_wide_as_those_of_a_mean_over_prompts() -> None:
    tops = [2.0 + i / 100 for i in range(40)]
    old = [prompt(f"P{i}", ids=(i, 5)) for i in range(len(tops))]
    new = [prompt(f"P{i}", ids=(i, 5), top=top) for i, top in enumerate(tops)]
    found = compare(keeping(*old), keeping(*new)).drift
    assert found is not None
    assert found.kl is not None
    before, *after = (
        list(log_probabilities([3, 4], [top, 1.0], 0.0).values()) for top in (2.0, *tops)
    )
    spread = pstdev(divergence(before, each) for each in after)
    # Two positions of one prompt are no two measurements.
    normal = 2 * 1.96 * spread / math.sqrt(len(tops))
    assert found.kl.high - found.kl.low == pytest.approx(normal, rel=0.05)


@pytest.mark.parametrize(
    ("one", "other", "positions"),
    [
        ((1, 5), (1, 6), 3),
        ((1, 5), (1, 5), 2),
        ((1, 5), (2, 5), 4),
        ((4, 4), (5, 5), 4),
        ((1, 5), (5, 1), 4),
    ],
)
def test_a_beginning_that_prompts_share_counts_once(
    one: tuple[int, ...], other: tuple[int, ...], positions: int
) -> None:
    prompts = prompt("P", ids=one), prompt("Q", ids=other)
    found = compare(keeping(*prompts), keeping(*prompts)).drift
    assert found is not None
    assert (found.prompts, found.positions) == (2, positions)


def test_a_token_that_comes_again_is_another_position() -> None:
    rows: dict[str, Any] = {"top_ids": [[3, 4]] * 3, "top_logits": [[2.0, 1.0]] * 3}
    long = prompt("P", ids=(1, 5, 1), log_rest=[0.0] * 3, likeliest=["x"] * 3, **rows)
    found = compare(keeping(long), keeping(long)).drift
    assert found is not None
    assert found.positions == 3


def test_another_leading_token_is_named_with_its_margin() -> None:
    turned = prompt("P", top_ids=[[4, 3]] * 2, top_logits=[[1.5, 1.0]] * 2, likeliest=["y", "y"])
    found = compare(keeping(prompt("P")), keeping(turned)).drift
    assert found is not None
    assert found.same_top is not None
    assert found.same_top.value == 0
    flip = found.flips[0]
    assert (flip.prompt, flip.position, flip.old, flip.new) == ("P", 1, "x", "y")
    assert flip.margin == pytest.approx(1.5)
    assert not flip.near_tie


def test_a_prompt_that_is_encoded_otherwise_is_a_change() -> None:
    old = keeping(prompt("P"), prompt("Q", ids=(1, 6)))
    found = compare(old, keeping(prompt("P"), prompt("Q", ids=(2, 6)))).drift
    assert found is not None
    assert (found.outcome, found.encoded_otherwise) == (Outcome.CHANGED, ("Q",))
    alone = compare(keeping(prompt("P")), keeping(prompt("P", ids=(2, 5)))).drift
    assert alone is not None
    assert (alone.outcome, alone.kl) == (Outcome.CHANGED, None)
    assert alone.encoded_otherwise == ("P",)


def test_nothing_kept_in_one_record_is_not_comparable_and_in_both_is_nothing_to_say() -> None:
    nothing = record([("d", check())], header(planned("d")))
    found = compare(keeping(prompt("P")), nothing).drift
    assert found is not None
    assert (found.outcome, found.in_one_only) == (Outcome.NOT_COMPARABLE, ("P",))
    assert compare(nothing, nothing).drift is None


def test_the_more_precise_type_says_what_rounding_explains() -> None:
    half = LOADED.model_copy(update={"dtype": "bfloat16"})
    old, new = prompt("P"), prompt("P", top=2.1)
    rough = keeping(new, noise=0.1, tolerance=1.0, target=half)
    alike = compare(keeping(old, noise=0.1, tolerance=1.0, target=half), rough).drift
    assert alike is not None
    assert alike.outcome is Outcome.SAME
    found = compare(keeping(old), rough).drift
    assert found is not None
    assert found.outcome is Outcome.DRIFTED


def test_what_a_type_makes_possible_is_not_all_taken_for_rounding() -> None:
    half = LOADED.model_copy(update={"dtype": "bfloat16"})
    old = keeping(prompt("P"), noise=0.01, tolerance=3.0, target=half)
    new = keeping(prompt("P", top=2.5), noise=0.01, tolerance=3.0, target=half)
    found = compare(old, new).drift
    assert found is not None
    assert found.outcome is Outcome.DRIFTED


def test_a_run_that_is_suddenly_noisier_does_not_excuse_itself() -> None:
    old = keeping(prompt("P"), noise=1e-5, tolerance=1.0)
    found = compare(old, keeping(prompt("P", top=2.1), noise=0.1, tolerance=1.0)).drift
    assert found is not None
    assert found.noise == pytest.approx(4e-5)
    assert found.outcome is Outcome.DRIFTED


def test_another_leading_token_is_a_drift_where_nothing_moved_far() -> None:
    near = prompt("P", top_logits=[[2.0, 1.9]] * 2)
    turned = prompt("P", top_ids=[[4, 3]] * 2, top_logits=[[2.0, 1.9]] * 2, likeliest=["y", "y"])
    runs = [keeping(each, noise=0.04, tolerance=1.0) for each in (near, turned)]
    found = compare(*runs).drift
    assert found is not None
    assert found.largest_change < found.explained
    assert found.outcome is Outcome.DRIFTED


def test_a_token_that_is_kept_no_more_moved_at_least_so_far() -> None:
    other = prompt("P", top_ids=[[3, 9]] * 2, top_logits=[[2.0, 0.5]] * 2, log_rest=[0.5, 0.5])
    found = compare(keeping(prompt("P")), keeping(other)).drift
    assert found is not None
    total, later = (math.log(sum(map(math.exp, each))) for each in ((2, 1, 0), (2, 0.5, 0.5)))
    assert found.largest_change == pytest.approx((1 - total) - (0.5 - later))
    assert found.outcome is Outcome.DRIFTED


def test_a_leading_token_that_is_kept_no_more_is_at_most_as_likely_as_the_last_that_is() -> None:
    other = prompt("P", top_ids=[[9, 4]] * 2)
    found = compare(keeping(prompt("P"), noise=10.0), keeping(other, noise=10.0)).drift
    assert found is not None
    assert found.rms_dp is not None
    weights = [math.exp(each) for each in (2, 1, 0)]
    assert found.rms_dp.value == pytest.approx((weights[0] - weights[1]) / sum(weights))
    assert found.largest_change == pytest.approx(1)
    assert [flip.margin for flip in found.flips] == pytest.approx([2, 2])
    assert not any(flip.near_tie for flip in found.flips)


def test_leading_tokens_that_changed_are_told_from_the_widest_margin_on() -> None:
    margins = [0.2, 0.6, 0.4]
    old, new = (
        [
            prompt(f"P{i}", ids=(i, 5), top_ids=[ids] * 2, top_logits=[[2.0, 2.0 - margin / 2]] * 2)
            for i, margin in enumerate(margins)
        ]
        for ids in ([3, 4], [4, 3])
    )
    found = compare(keeping(*old), keeping(*new)).drift
    assert found is not None
    assert [flip.margin for flip in found.flips] == pytest.approx([0.6, 0.6, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize(("noise", "near"), [(0.1, True), (0.09995, True), (0.0998, False)])
def test_another_leading_token_within_twice_the_noise_is_a_near_tie(
    noise: float, near: bool
) -> None:
    """What a record keeps of a logit is rounded itself: by twice 0.0001 more it may be off."""
    one = prompt("P", top_logits=[[2.0, 1.9]] * 2)
    turned = prompt("P", top_ids=[[4, 3]] * 2, top_logits=[[2.0, 1.9]] * 2, likeliest=["y", "y"])
    found = compare(*(keeping(each, noise=noise, tolerance=1.0) for each in (one, turned))).drift
    assert found is not None
    assert [flip.near_tie for flip in found.flips] == [near] * 2
    assert found.outcome is (Outcome.SAME if near else Outcome.DRIFTED)


def test_prompts_that_one_record_lost_are_named_and_leave_it_not_comparable() -> None:
    old = keeping(prompt("P"), prompt("Q", ids=(2, 5)))
    lost = keeping(prompt("P"), prompt("Q", ids=(2, 5), log_rest=["NaN", "NaN"]))
    found = compare(old, lost).drift
    assert found is not None
    assert (found.outcome, found.in_one_only) == (Outcome.NOT_COMPARABLE, ("Q",))


@pytest.mark.parametrize(
    "damaged",
    [
        {"ids": [1]},
        {"log_rest": []},
        {"log_rest": ["Infinity", "Infinity"]},
        {"top_ids": [[3], [3]]},
        {"top_logits": [["NaN", 1.0], [1.0, 1.0]]},
        {"top_ids": [[], []], "top_logits": [[], []]},
        {"likeliest": "x"},
    ],
)
def test_what_is_not_of_the_right_shape_is_left_out(damaged: dict[str, Any]) -> None:
    assert kept(keeping(prompt("P", **damaged))).prompts == {}


def test_one_logit_a_position_is_enough() -> None:
    one = prompt("P", top_ids=[[3]] * 2, top_logits=[[2.0]] * 2)
    assert kept(keeping(one)).prompts.keys() == {"P"}


@pytest.mark.parametrize("noise", [None, "x", True, 0.0, -1.0, "NaN", LEAST_NOISE / 2])
def test_a_noise_that_is_none_is_the_least(noise: Any) -> None:
    values = {"kept_prompts": [prompt("P")], "noise": noise, "tolerance": noise}
    found = kept(record([("d", check(values=values))], header(planned("d"))))
    assert found.prompts.keys() == {"P"}
    assert (found.noise, found.tolerance) == (LEAST_NOISE, LEAST_NOISE)


def test_rounding_moves_nothing_further_than_it_can() -> None:
    one = Kept(noise=0.5, tolerance=0.1)
    assert noise_between(one, one, same_dtype=True).noise == 0.1
    unknown = Kept(noise=0.5)  # what is possible was not said
    assert noise_between(unknown, unknown, same_dtype=True).noise == 0.5


def test_kept_logits_are_whole_distributions() -> None:
    found = log_probabilities([3, 4], [2.0, 1.0], log_rest=0.0)
    rest = 1 - sum(math.exp(each) for each in found.values())
    assert rest == pytest.approx(1 / (math.exp(2) + math.e + 1))


def test_a_divergence_is_never_negative_whatever_rounding_does() -> None:
    third = [math.log(1 / 3)] * 3
    assert divergence(third, [each + 1e-9 for each in third]) == 0


# --- the whole -----------------------------------------------------------------------------------


def test_only_what_differs_in_the_environments_is_told() -> None:
    packages = ENVIRONMENT.packages | {"transformers": "4.46.3", "uncommon": "1"}
    old = record(environment=ENVIRONMENT.model_copy(update={"packages": packages, "threads": 2}))
    found = compare(old, record()).environment
    assert [(each.name, each.old, each.new) for each in found] == [
        ("package transformers", "4.46.3", "5.23.0"),
        ("package uncommon", "1", "absent"),
    ]


def test_another_model_under_the_same_name_is_told_first_of_all_facts() -> None:
    one, other = (LOADED.model_copy(update={"fingerprint": c * 64}) for c in "ab")
    (change,) = compare(record(target=one), record(target=other)).environment
    assert (change.name, change.old, change.new) == ("model files", "a" * 12, "b" * 12)


def test_records_of_two_targets_are_refused_unless_that_is_meant() -> None:
    other = record(target=LOADED.model_copy(update={"name": "gpt2-xl"}))
    with pytest.raises(UserError) as refused:
        compare(record(), other)
    assert str(refused.value) == (
        "the records are of two targets, 'embedded' and 'gpt2-xl': compare runs on one target, or "
        "allow it with --across-targets"
    )
    assert compare(record(), other, across_targets=True).outcomes == {Outcome.SAME}


def test_claims_stand_in_the_new_runs_order_and_removed_ones_last() -> None:
    old = record(plan=header(planned("a"), planned("b")))
    new = record(plan=header(planned("c"), planned("b")))
    found = compare(old, new)
    assert [(claim.id, claim.outcome.value) for claim in found.claims] == [
        ("c", "added"),
        ("b", "same"),
        ("a", "removed"),
    ]
    assert found.counts[Outcome.ADDED] == 1
    assert found.outcomes & {Outcome.REMOVED, Outcome.DRIFTED} == {Outcome.REMOVED}


def test_claims_a_run_did_not_set_out_to_decide_are_left_out_but_their_noise_is_not() -> None:
    kept_there = check(values={"kept_prompts": [prompt("P")], "noise": 1e-3, "tolerance": 1.0})
    plan = header(planned("c"), planned("d"))
    old = record([("c", check(values={"p": 0.5})), ("d", kept_there)], plan)
    new = record([("c", check(values={"p": 0.501}))], header(planned("c")))
    found = compare(old, new, decided_now=True)
    assert [(claim.id, claim.outcome) for claim in found.claims] == [("c", Outcome.SAME)]


def timed(seconds: float, checks: int = 4) -> Record:
    cost = Cost(seconds=seconds, forward_passes=3, rows=3, tokens=30)
    made = [("c", check(f"t{i}", cost=cost)) for i in range(checks)]
    return record(made, header(planned("c", checks=checks)))


def test_speed_is_a_ratio_over_checks_that_did_the_same_work() -> None:
    speed = compare(timed(0.5), timed(0.25)).speed
    assert speed is not None
    assert speed.value == pytest.approx(0.5)
    assert speed.low == pytest.approx(0.5)
    assert compare(timed(0.5, checks=3), timed(0.5, checks=3)).speed is None
    assert compare(timed(0.001), timed(0.001)).speed is None


def test_a_record_that_keeps_nothing_has_the_least_noise() -> None:
    assert kept(record()) == Kept()


# --- throughput ----------------------------------------------------------------------------------


def test_rates_are_paired_by_what_they_are_whatever_their_order() -> None:
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
        {"per_second": None, "low": None, "high": None, "reason": "no room"},
        {"per_second": None},
        {"low": None},
        {"high": None},
    ],
)
def test_what_was_measured_otherwise_or_in_one_run_alone_has_no_ratio(
    update: dict[str, Any],
) -> None:
    (one,) = [r for r in rates() if (r.what, r.batch, r.cache) == ("decode", 8, "dynamic")]
    other = one.model_copy(update=update)
    assert len(compare_rates([one], [one])) == 1
    assert compare_rates([one], [other]) == compare_rates([other], [one]) == ()
