from __future__ import annotations

import math
from typing import Any

import pytest

from probes.compare.evidence import SHOWN, Rounding, find_differences
from probes.compare.logprobs import LEAST_NOISE
from probes.schema.claim import catalogue
from probes.schema.comparison import Difference, Effect
from probes.schema.record import Verdict
from tests.support.comparing import differences
from tests.support.samples import check, planned

NOISELESS = Rounding(noise=LEAST_NOISE)


def between(old: Any, new: Any, noise: float = LEAST_NOISE) -> list[Difference]:
    return differences({"x": old}, {"x": new}, noise)


def effect_of(old: Any, new: Any, noise: float = LEAST_NOISE) -> Effect:
    (found,) = between(old, new, noise)
    assert found.effect is not None
    return found.effect


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
def test_difference_outcome_by_kind_of_value(old: Any, new: Any, expected: list[str]) -> None:
    assert [each.outcome.value for each in between(old, new)] == expected


@pytest.mark.parametrize(
    ("old", "new", "noise", "is_explained"),
    [
        (1000, 1001, 1e-3, False),  # rounding changes no count
        (1000.0, 1001.0, 1e-3, True),
        (0.5, 0.52, LEAST_NOISE, False),
        (0.5, 0.52, 1e-3, True),
        (0.5, 0.55, 10.0, False),
        (0.09, 0.0001, 10.0, False),
    ],
)
def test_difference_within_noise_is_none(
    old: float, new: float, noise: float, is_explained: bool
) -> None:
    assert (between(old, new, noise) == []) == is_explained


@pytest.mark.parametrize(
    ("old", "new", "name", "shown"),
    [
        ({"a": [{"b": "c"}]}, {"a": [{"b": "d"}]}, "x.a[0].b", ("c", "d")),
        ({"a": [{"b": 1.0}]}, {"a": [{"b": 2.0}]}, "x.a[*].b", (1.0, 2.0)),
        (0.5, "Infinity", "x", (0.5, "Infinity")),
        ("-Infinity", 0.5, "x", ("-Infinity", 0.5)),
        ("NaN", -0.5, "x", ("NaN", -0.5)),
        (24, 25, "x", (24, 25)),
        ({"id": 7}, {"id": 8}, "x.id", (7, 8)),
        ("a" * SHOWN, "a" * (SHOWN + 1), "x", ("a" * SHOWN, "a" * (SHOWN - 1) + "…")),
        ([1, 2, 3], {"a": 1}, "x", ("3 items", "1 entries")),
        (True, None, "x", (True, None)),
        ({"a": 1}, {}, "x.a", (1, "absent")),
        ({}, {"a": "b"}, "x.a", ("absent", "b")),
    ],
)
def test_difference_names_place_and_values(old: Any, new: Any, name: str, shown: Any) -> None:
    (found,) = between(old, new)
    assert (found.name, (found.old, found.new)) == (name, shown)
    assert name != "x.id" or found.effect is None
    # 1 is equal to 1.0 and to True, and is not the same to a reader.
    assert [type(each) for each in (found.old, found.new)] == [type(each) for each in shown]


def test_effect_of_several_numbers() -> None:
    old = [{"temperature": t, "p": 0.5} for t in (0.2, 0.6, 1.0)]
    new = [{"temperature": t, "p": p} for t, p in ((0.2, 0.6), (0.6, 0.7), (1.0, 0.5))]
    (found,) = between(old, new)
    assert (found.name, found.old, found.new) == ("x[*].p", 0.5, 0.7)
    effect = effect_of(old, new)
    assert (effect.numbers, effect.moved) == (3, 2)
    assert (effect.largest, effect.difference.value) == pytest.approx((0.2, 0.1))
    # Student's t with 2 degrees of freedom, standard deviation 0.1, three differences.
    assert effect.difference.high - 0.1 == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    assert effect.size == pytest.approx(1.0)


def test_effect_of_one_number_has_the_interval_of_rounding() -> None:
    effect = effect_of(0.5, 0.6, noise=1e-4)
    assert effect.size is None
    assert effect_of([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]).size is None  # all moved by the same amount
    half = effect.difference.high - effect.difference.value
    assert half == pytest.approx(120 * 1e-4 * 0.6 + 10 * 1e-4)


@pytest.mark.parametrize(("claim_id", "names"), [("mine", 3), (next(iter(catalogue())), 1)])
def test_evidence_names_with_a_meaning_are_those_of_builtin_claims(
    claim_id: str, names: int
) -> None:
    old, new = ({"table": n, "noise": n, "p": n} for n in (1.0, 2.0))
    assert len(differences(old, new, claim=claim_id)) == names


def test_changes_come_before_drifts() -> None:
    found = differences({"a": 1.0, "b": "b", "c": 1.0}, {"a": 2.0, "b": "x", "c": 2.0})
    assert [each.outcome.value for each in found] == ["changed", "drifted", "drifted"]


def test_evidence_of_one_run_alone_is_no_difference() -> None:
    assert differences({"x": 1}, {"x": 1, "y": 2}) == []


@pytest.mark.parametrize(
    ("checks", "shown"),
    [
        ([check("a"), check("b", Verdict.NOT_APPLICABLE)], ("holds", "not applicable")),
        ([check("a")], ("holds", "absent")),
    ],
)
def test_check_with_another_verdict_is_a_difference(checks: Any, shown: tuple[str, str]) -> None:
    both = planned("c", evidence=(check("a"), check("b")))
    other = planned("c", evidence=tuple(checks))
    (found,) = find_differences(both, other, NOISELESS)
    assert (found.check, found.name, (found.old, found.new)) == ("", "b", shown)
    (found,) = find_differences(other, both, NOISELESS)
    assert (found.old, found.new) == shown[::-1]


def test_check_that_was_deselected_is_no_difference() -> None:
    both = planned("c", evidence=(check("a"), check("b")))
    other = planned("c", evidence=(check("a"),), deselected=1)
    assert find_differences(both, other, NOISELESS) == []
