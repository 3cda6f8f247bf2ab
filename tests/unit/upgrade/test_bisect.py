from __future__ import annotations

import random
from typing import Any

import pytest

from probes.errors import UserError
from probes.schema.record import Record, Verdict
from probes.upgrade.bisection import Answer, search
from probes.upgrade.question import Finding, Question, list_differences, parse_measure
from tests.support.samples import check, header, planned, record

SIDES = {"g": True, "b": False, "s": None}


def search_in(sides: str, more: int = 0) -> tuple[Answer, list[int]]:
    """Search releases whose sides are the letters g, b and s; also return which were judged."""
    judged: list[int] = []

    def judge(release: str) -> bool | None:
        judged.append(int(release))
        return SIDES[sides[int(release)]]

    return search([str(n) for n in range(len(sides))], judge, more), judged


# --- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(2, 40))
def test_search_finds_a_single_change_in_few_steps(count: int) -> None:
    for place in range(1, count):
        found, judged = search_in("g" * place + "b" * (count - place))
        assert (found.last_good, found.first_bad) == (str(place - 1), str(place))
        assert not found.skipped
        assert not found.contradictions
        assert len(judged) == len(set(judged)) <= (count - 2).bit_length()


@pytest.mark.parametrize(
    ("sides", "last_good", "first_bad", "skipped"),
    [
        ("gggsbbb", "2", "4", ("3",)),
        ("gsssssb", "0", "6", ("1", "2", "3", "4", "5")),
        ("gsgsbsb", "2", "4", ("3",)),
        ("gggsggb", "5", "6", ()),
        ("gb", "0", "1", ()),
    ],
)
def test_search_leaves_a_range_only_where_it_must(
    sides: str, last_good: str, first_bad: str, skipped: tuple[str, ...]
) -> None:
    found, _ = search_in(sides)
    assert (found.last_good, found.first_bad, found.skipped) == (last_good, first_bad, skipped)


def test_search_is_true_of_what_was_judged_when_some_are_skipped() -> None:
    rng = random.Random(7)
    for _ in range(500):
        count = rng.randint(2, 30)
        place = rng.randint(1, count - 1)
        sides = ["g"] * place + ["b"] * (count - place)
        for other in range(1, count - 1):
            if rng.random() < 0.4:
                sides[other] = "s"
        found, judged = search_in("".join(sides))
        low, high = int(found.last_good), int(found.first_bad)
        assert (sides[low], sides[high]) == ("g", "b")
        assert {*sides[low + 1 : high]} <= {"s"}
        assert len(judged) == len(set(judged))


def test_search_reports_a_second_change_that_it_meets() -> None:
    found, judged = search_in("gggbbbbbbbggbbbb", more=2)
    assert found.contradictions
    assert int(found.first_bad) - int(found.last_good) == 1
    assert len(judged) <= 6


def test_search_finds_every_change_when_all_are_judged() -> None:
    sides = "ggbggggggggggggggggggggggbbbbb"
    assert not search_in(sides)[0].contradictions
    found, judged = search_in(sides, more=len(sides))
    assert found.contradictions == [("2", "3")]
    assert sorted(judged) == list(range(1, len(sides) - 1))
    assert [*found.judged] == [str(n) for n in range(len(sides))]


def test_search_takes_more_from_the_widest_gap() -> None:
    _, judged = search_in("g" * 2 + "b" * 30, more=1)
    assert judged[-1] == 23


# --- the question --------------------------------------------------------------------------------


def run_with(**values: Any) -> Record:
    checks = [
        ("collapse", check("test_it[narrow]", values=values)),
        ("collapse", check("test_it[wide]", values={"draws": 5})),
    ]
    return record(checks, plan=header(planned("collapse", checks=2)))


@pytest.mark.parametrize(
    ("verdict", "finding"),
    [
        (Verdict.HOLDS, Finding(True, "holds")),
        (Verdict.FAILS, Finding(False, "fails: why")),
        (Verdict.ERROR, Finding(None, "error: why")),
        (Verdict.NOT_APPLICABLE, Finding(None, "not applicable: why")),
    ],
)
def test_claim_answers_only_if_it_holds_or_fails(verdict: Verdict, finding: Finding) -> None:
    reason = "" if verdict is Verdict.HOLDS else "why"
    run = record([("pad-token", check(verdict=verdict, reason=reason))], plan=header())
    assert Question("pad-token").answer(run) == finding
    assert Question("absent").answer(run) == Finding(None, "it was not decided")


@pytest.mark.parametrize(
    ("measure", "finding"),
    [
        (
            "collapse.probability.first",
            Finding(True, "collapse.probability.first = 0.75, above 0.5"),
        ),
        ("collapse.zero", Finding(False, "collapse.zero = 0.5, not above 0.5")),
        ("collapse.numbers.1", Finding(True, "collapse.numbers.1 = 2, above 0.5")),
        ("collapse[wide].draws", Finding(True, "collapse[wide].draws = 5, above 0.5")),
        ("collapse.nan", Finding(None, "collapse.nan is not among the evidence as a number")),
        ("collapse.gone", Finding(None, "collapse.gone is not among the evidence as a number")),
    ],
)
def test_number_is_compared_with_the_threshold(measure: str, finding: Finding) -> None:
    run = run_with(probability={"first": 0.75}, zero=0.5, numbers=[1, 2], nan="NaN")
    assert parse_measure(measure, 0.5).answer(run) == finding


def test_number_of_several_checks_needs_the_check_named() -> None:
    with pytest.raises(UserError) as refused:
        parse_measure("collapse.draws", 1).answer(run_with(draws=3))
    assert str(refused.value) == (
        "2 checks of collapse have draws: name one, as in --measure 'collapse[narrow].draws'; "
        "they are narrow, wide"
    )


def test_differing_evidence_is_listed_value_by_value() -> None:
    one, other = (run_with(tokens=n, text="a").claims[0] for n in (14, 20))
    assert list_differences(one, other) == ["narrow: tokens: 14 → 20"]
    many, none = (run_with(**values).claims[0] for values in (dict.fromkeys("abcdef", 1), {}))
    assert list_differences(many, none, limit=2) == [
        "narrow: a: 1 → nothing",
        "narrow: b: 1 → nothing",
        "and 4 more",
    ]
