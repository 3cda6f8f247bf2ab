from __future__ import annotations

import math
from statistics import pstdev
from typing import Any

import pytest

from probes.compare.drift import divergence, log_probabilities
from probes.compare.logprobs import LEAST_NOISE, KeptLogits, combine_noise, read_kept_logits
from probes.compare.records import compare
from probes.schema.comparison import Drift, Estimate, Outcome
from probes.schema.record import Record
from tests.support.kept_prompts import flipped, keeping, prompt
from tests.support.samples import LOADED, check, header, planned, record

HALF = LOADED.model_copy(update={"dtype": "bfloat16"})


def drift(old: Record, new: Record) -> Drift:
    found = compare(old, new).drift
    assert found is not None
    return found


def known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


def test_drift_of_equal_distributions_is_none() -> None:
    found = drift(keeping(prompt("P")), keeping(prompt("P")))
    assert found.outcome is Outcome.SAME
    assert (found.prompts, found.positions, found.largest_change) == (1, 2, 0.0)
    assert known(found.kl).value == 0
    assert known(found.same_top).low < known(found.same_top).value == 1


def test_drift_follows_the_formulas() -> None:
    found = drift(keeping(prompt("P")), keeping(prompt("P", top=2.5)))
    weights = [[math.exp(top), math.exp(1.0), 1.0] for top in (2.0, 2.5)]
    p, q = ([w / sum(row) for w in row] for row in weights)
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert known(found.kl).value == pytest.approx(kl)
    assert known(found.rms_dp).value == pytest.approx(q[0] - p[0])
    assert found.largest_change == pytest.approx(math.log(p[1] / q[1]))
    assert found.outcome is Outcome.DRIFTED


def test_interval_is_that_of_a_mean_over_prompts() -> None:
    tops = [2.0 + i / 100 for i in range(40)]
    old = keeping(*(prompt(f"P{i}", ids=(i, 5)) for i in range(len(tops))))
    new = keeping(*(prompt(f"P{i}", ids=(i, 5), top=top) for i, top in enumerate(tops)))
    found = drift(old, new)
    kl = known(found.kl)
    assert 0 < kl.low < kl.value < kl.high
    before, *after = (
        list(log_probabilities([3, 4], [top, 1.0], 0.0).values()) for top in (2.0, *tops)
    )
    spread = pstdev(divergence(before, each) for each in after)
    # Two positions of one prompt are no two measurements.
    assert kl.high - kl.low == pytest.approx(2 * 1.96 * spread / math.sqrt(len(tops)), rel=0.05)
    assert drift(old, new) == found


@pytest.mark.parametrize(
    ("one", "other", "positions"),
    [((1, 5), (1, 6), 3), ((1, 5), (1, 5), 2), ((1, 5), (2, 5), 4), ((1, 5), (5, 1), 4)],
)
def test_shared_beginning_counts_once(
    one: tuple[int, ...], other: tuple[int, ...], positions: int
) -> None:
    record = keeping(prompt("P", ids=one), prompt("Q", ids=other))
    found = drift(record, record)
    assert (found.prompts, found.positions) == (2, positions)


# --- another most likely token -------------------------------------------------------------------


def test_flips_are_named_with_the_widest_margin_first() -> None:
    old, new = (
        keeping(
            *(
                kind(f"P{i}", ids=(i, 5), top_logits=[[2.0, 2.0 - gap]] * 2)
                for i, gap in enumerate((0.1, 0.3))
            )
        )
        for kind in (prompt, flipped)
    )
    found = drift(old, new)
    assert known(found.same_top).value == 0
    assert [flip.margin for flip in found.flips] == pytest.approx([0.6, 0.6, 0.2, 0.2])
    flip = found.flips[0]
    assert (flip.prompt, flip.position, flip.old, flip.new) == ("P1", 1, "x", "y")
    assert not flip.near_tie


@pytest.mark.parametrize(("noise", "near"), [(0.1, True), (0.09995, True), (0.0998, False)])
def test_flip_within_twice_the_noise_is_a_near_tie(noise: float, near: bool) -> None:
    """A record rounds the logits it keeps, so that they may differ by 0.0002 more."""
    logits = [[2.0, 1.9]] * 2
    one, turned = prompt("P", top_logits=logits), flipped("P", top_logits=logits)
    found = drift(*(keeping(each, noise=noise, tolerance=1.0) for each in (one, turned)))
    assert [flip.near_tie for flip in found.flips] == [near] * 2
    assert found.largest_change < found.explained
    assert found.outcome is (Outcome.SAME if near else Outcome.DRIFTED)


def test_change_of_a_token_no_longer_kept_is_a_lower_bound() -> None:
    other = prompt("P", top_ids=[[3, 9]] * 2, top_logits=[[2.0, 0.5]] * 2, log_rest=[0.5, 0.5])
    found = drift(keeping(prompt("P")), keeping(other))
    total, later = (math.log(sum(map(math.exp, each))) for each in ((2, 1, 0), (2, 0.5, 0.5)))
    assert found.largest_change == pytest.approx((1 - total) - (0.5 - later))
    assert found.outcome is Outcome.DRIFTED


def test_top_token_no_longer_kept_counts_as_the_last_kept() -> None:
    old, new = (keeping(p, noise=10.0) for p in (prompt("P"), prompt("P", top_ids=[[9, 4]] * 2)))
    found = drift(old, new)
    weights = [math.exp(each) for each in (2, 1, 0)]
    assert known(found.rms_dp).value == pytest.approx((weights[0] - weights[1]) / sum(weights))
    assert found.largest_change == pytest.approx(1)
    assert [flip.margin for flip in found.flips] == pytest.approx([2, 2])
    assert not any(flip.near_tie for flip in found.flips)


# --- prompts of one record -----------------------------------------------------------------------


def test_prompt_with_other_ids_is_a_change() -> None:
    old = keeping(prompt("P"), prompt("Q", ids=(1, 6)))
    found = drift(old, keeping(prompt("P"), prompt("Q", ids=(2, 6))))
    assert (found.outcome, found.encoded_otherwise) == (Outcome.CHANGED, ("Q",))
    alone = drift(keeping(prompt("P")), keeping(prompt("P", ids=(2, 5))))
    assert (alone.outcome, alone.kl, alone.encoded_otherwise) == (Outcome.CHANGED, None, ("P",))


def test_prompts_of_one_record_are_not_comparable() -> None:
    nothing = record([("d", check())], header(planned("d")))
    found = drift(keeping(prompt("P")), nothing)
    assert (found.outcome, found.in_one_only) == (Outcome.NOT_COMPARABLE, ("P",))
    assert compare(nothing, nothing).drift is None
    lost = keeping(prompt("P"), prompt("Q", ids=(2, 5), log_rest=["NaN", "NaN"]))
    found = drift(keeping(prompt("P"), prompt("Q", ids=(2, 5))), lost)
    assert (found.outcome, found.in_one_only) == (Outcome.NOT_COMPARABLE, ("Q",))


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"target": HALF, "noise": 0.1}, {"target": HALF, "noise": 0.1}, Outcome.SAME),
        # The more precise type decides.
        ({"noise": 1e-5, "tolerance": 0.01}, {"target": HALF, "noise": 0.1}, Outcome.DRIFTED),
        # Not all that a type makes possible is taken for rounding.
        ({"target": HALF, "noise": 0.01}, {"target": HALF, "noise": 0.01}, Outcome.DRIFTED),
        # A run that is suddenly noisier does not widen its own tolerance.
        ({"noise": 1e-5}, {"noise": 0.1}, Outcome.DRIFTED),
    ],
)
def test_noise_that_explains_a_change(
    old: dict[str, Any], new: dict[str, Any], expected: Outcome
) -> None:
    one = keeping(prompt("P"), **{"tolerance": 1.0, **old})
    other = keeping(prompt("P", top=2.2), **{"tolerance": 1.0, **new})
    assert drift(one, other).outcome is expected


def test_noise_is_no_larger_than_rounding_allows() -> None:
    one = KeptLogits(noise=0.5, tolerance=0.1)
    assert combine_noise(one, one, same_dtype=True).noise == 0.1
    unknown = KeptLogits(noise=0.5)  # the record does not say what is possible
    assert combine_noise(unknown, unknown, same_dtype=True).noise == 0.5


@pytest.mark.parametrize("noise", [None, "x", True, 0.0, -1.0, "NaN", LEAST_NOISE / 2])
def test_noise_that_is_no_number_is_the_least(noise: Any) -> None:
    found = read_kept_logits(keeping(prompt("P"), noise=noise, tolerance=noise))
    assert found.prompts.keys() == {"P"}
    assert (found.noise, found.tolerance) == (LEAST_NOISE, LEAST_NOISE)


# --- what a record keeps -------------------------------------------------------------------------


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
def test_prompt_of_another_shape_is_left_out(damaged: dict[str, Any]) -> None:
    assert read_kept_logits(keeping(prompt("P", **damaged))).prompts == {}


def test_prompt_with_one_logit_a_position_is_kept() -> None:
    one = prompt("P", top_ids=[[3]] * 2, top_logits=[[2.0]] * 2)
    assert read_kept_logits(keeping(one)).prompts.keys() == {"P"}
    assert read_kept_logits(record()) == KeptLogits()


def test_divergence_is_never_negative() -> None:
    third = [math.log(1 / 3)] * 3
    assert divergence(third, [each + 1e-9 for each in third]) == 0
