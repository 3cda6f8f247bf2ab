from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import pytest
from pydantic import JsonValue

from probes.report.html.evidence import LARGEST_TABLE, list_short_values, show, tabulate
from probes.report.html.faults import faults_by_claim
from probes.report.html.page import render
from probes.report.locale import LANGUAGES, texts
from probes.report.text.markdown import summarize_run
from probes.report.text.phrases import format_command, format_counts, format_key, format_time
from probes.report.visible import RIGHT_TO_LEFT, SPECIAL, mark
from probes.schema.claim import Status, catalogue
from probes.schema.record import ClaimRecord, Cost, Record, TargetFacts, Verdict
from tests.support.page_reader import Page
from tests.support.samples import (
    ENVIRONMENT,
    FINISHED,
    HOSTILE,
    TARGET,
    check,
    header,
    mixed,
    planned,
    record,
)


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with every verdict, and evidence of every shape."""
    return render(mixed())


def read_page(one: Record, language: str = "en") -> Page:
    return Page(render(one), language)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({Verdict.HOLDS: 1}, "1 claim holds"),
        ({Verdict.FAILS: 2, Verdict.NOT_DECIDED: 1}, "2 claims fail, 1 not decided"),
        ({Verdict.ERROR: 1}, "1 claim ended in an error"),
        ({Verdict.NOT_DECIDED: 3}, "3 claims not decided"),
        ({Verdict.HOLDS: 1200, Verdict.FAILS: 2}, "1,200 claims hold, 2 fail"),
        ({}, "no claims"),
    ],
)
def test_counts_are_a_sentence(counts: dict[Verdict, int], sentence: str) -> None:
    assert format_counts(Counter(counts)) == sentence


def test_page_begins_with_verdict_and_broken_claims(whole: str) -> None:
    text = Page(whole).text
    top = (
        "claims hold, 1 fails, 1 ended in an error, 1 not observed, 1 not applicable, "
        "1 not decided."
    )
    said = (top, "What is wrong", "What was not observed", "Loading", "Target")
    order = [text.index(words) for words in said]
    assert order == sorted(order)
    assert (
        "fails What default-length states. Found expected 20 new tokens, got 14 "
        "Evidence prompt tokens 6 · new tokens 14" in text
    )


def test_page_shows_target_environment_and_cost() -> None:
    text = read_page(record()).text
    for fact in (
        "MistralForCausalLM",
        "32,000 tokens",
        "3,512,345",
        "14.0 MB",
        "float32",
        "shipped with the suite",
        "transformers 5.23.0",
        "Python 3.11.7",
        "Time in checks 20 ms",
        "Forward passes 2",
        "23 November 2026, 07:51 UTC",
    ):
        assert fact in text
    assert "What is wrong" not in text
    assert "incomplete" not in text.lower()


def test_claim_shows_all_that_is_known_of_it(whole: str) -> None:
    text = Page(whole).text
    assert (
        "not applicable load-nf4 refined · contract What load-nf4 states. "
        "the target is not quantized Differs from the published text. Adds the numbers. "
        f"How it is decided. {texts('en')['method.load-nf4']} "
        "Cost: 10 ms · 1 forward pass · 1 sequence · 6 token positions "
        "Decide it alone probes run --claim load-nf4" in text
    )
    assert "expected 20 new tokens, got 14↵ assert 14 == 20" in text  # a check's whole reason
    assert "2 checks of it were deselected on the command line." in text
    assert "Check Verdict text ids English holds The capital 1 2 Japanese" in text


def test_claim_shows_kind_and_known_failure() -> None:
    plan = header(
        planned("seen", kind="observation", expected=False),
        planned("sure", kind="observation"),
        planned("owed"),
    )
    checks = [
        ("seen", check(verdict=Verdict.NOT_OBSERVED, reason="10 degrees")),
        ("sure", check()),
        ("owed", check(verdict=Verdict.FAILS, reason="not paid", known_failure="a known bug")),
    ]
    one = record(checks, plan)
    text, japanese = read_page(one).text, read_page(one, "ja").text
    for words in (
        "1 claim holds, 1 fails, 1 not observed.",
        "not observed seen as published · observation What seen states. 10 degrees",
        "holds sure as published · observation, expected of this target What sure states.",
        "fails owed as published · contract What owed states. not paid Known failure: a known bug",
        "Found not paid Known failure: a known bug",
    ):
        assert words in text
    assert "観察されず seen" in japanese
    assert "観察（このターゲットに期待される）" in japanese
    assert "known failure: a known bug" in summarize_run(one)


def test_evidence_is_open_for_broken_claims_only(whole: str) -> None:
    assert whole.count('<details class="evidence" open>') == 1
    assert whole.count('<details class="evidence">') == 3


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (None, "Incomplete: the run did not reach its end. 1 of 2 checks were made."),
        (FINISHED, "Incomplete: the run ended early. 1 of 2 checks were made."),
    ],
)
def test_incomplete_run_is_marked(finished: str | None, words: str) -> None:
    part = record([("bos-inserted", check())], finished=finished)
    assert f"{words} {texts('en')['top.decided_is_here']}" in read_page(part).text
    assert "未完了: 実行は" in read_page(part, "ja").text
    assert "<title>embedded: incomplete, 1 claim holds, 1 not decided</title>" in render(part)


@pytest.mark.parametrize(
    ("claim_id", "target", "line"),
    [
        ("pad-token", TARGET, "probes run --claim pad-token"),
        ("my-claim", TARGET, "pytest --claim my-claim"),
        (
            "pad-token",
            TargetFacts(name="org/tiny", source="hub"),
            "probes run org/tiny --claim pad-token",
        ),
        (
            "pad-token",
            TargetFacts(name="my model", source="folder"),
            "probes run 'path/to/my model' --claim pad-token",
        ),
        (
            "pad-token",
            TargetFacts(name="org/tiny", source="hub", quantization="nf4", dtype="float16"),
            "probes run org/tiny --claim pad-token --quantization nf4 --dtype float16",
        ),
        (
            "engine-ids",
            TargetFacts(name="tiny.gguf", source="gguf", quantization="Q4_1", dtype="float32"),
            "probes run path/to/tiny.gguf --claim engine-ids --reference path/to/reference",
        ),
        (
            "engine-ids",
            TargetFacts(
                name="served", source="endpoint", address="http://host:80/v1", served_model="m"
            ),
            "probes run 'http://host:80/v1#m' --claim engine-ids --reference path/to/reference",
        ),
    ],
)
def test_command_decides_one_claim(claim_id: str, target: TargetFacts, line: str) -> None:
    assert format_command(planned(claim_id), target) == line


def test_invalid_time_and_empty_key_are_unchanged() -> None:
    assert format_time("yesterday") == "yesterday"
    assert format_key("__") == "__"


# --- languages -----------------------------------------------------------------------------------

OF_THE_CATALOGUE = ("title.", "differs.", "section.")
"""Keys of texts whose English is in the catalogue itself."""


def test_every_language_has_the_same_texts() -> None:
    def braces(language: str) -> dict[str, set[str]]:
        return {
            key: set(re.findall(r"{(\w*)}", text))
            for key, text in texts(language).items()
            if not key.startswith(OF_THE_CATALOGUE)
        }

    for language in LANGUAGES:
        assert braces(language) == braces("en")
        assert all(text.strip() for text in texts(language).values())


def test_every_claim_has_its_texts() -> None:
    claims = catalogue().values()
    sections = {claim.section for claim in claims}
    japanese = {f"title.{claim.id}" for claim in claims}
    japanese |= {f"differs.{claim.id}" for claim in claims if claim.differs}
    japanese |= {f"section.{section}" for section in sections}
    assert {key for key in texts("ja") if key.startswith(OF_THE_CATALOGUE)} == japanese
    explained = {f"method.{claim.id}" for claim in claims}
    explained |= {f"introduction.{section}" for section in sections}
    assert {k for k in texts("en") if k.startswith(("introduction.", "method."))} == explained


def test_japanese_statement_keeps_the_numbers() -> None:
    for claim in catalogue().values():
        japanese = texts("ja")[f"title.{claim.id}"]
        numbers = re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", claim.title)
        assert [number for number in numbers if number not in japanese] == [], claim.id


def of_the_catalogue(claim_id: str, **more: str) -> Record:
    claim = ClaimRecord(**catalogue()[claim_id].model_dump(), planned=1).model_copy(update=more)
    return record(plan=header(claim))


def test_statement_is_in_both_languages() -> None:
    one = of_the_catalogue("beam-one")
    assert catalogue()["beam-one"].title in read_page(one).text
    japanese = read_page(one, "ja").text
    assert texts("ja")["title.beam-one"] in japanese
    assert "ロジットから選択まで" in japanese
    assert "Beam search" not in japanese


@pytest.mark.parametrize(
    "one",
    [
        of_the_catalogue("beam-one", title="One beam was greedy once."),
        record(plan=header(planned("mine", title="One beam was greedy once.", section="Mine"))),
    ],
    ids=["an older statement", "a claim of one's own"],
)
def test_statement_of_another_wording_is_unchanged(one: Record) -> None:
    for language in LANGUAGES:
        assert "One beam was greedy once." in read_page(one, language).text
    if one.claims[0].id == "mine":
        assert "How it is decided" not in read_page(one).text


def test_japanese_page_has_no_english_of_its_own() -> None:
    text = read_page(of_the_catalogue("vocab-size"), "ja").text
    for fault in faults_by_claim()["vocab-size"]:  # data, too
        text = text.replace(fault["stands_for"], "").replace(fault["name"], "")
    words = set(re.findall(r"[A-Za-z]{4,}", text))
    assert words <= {
        *("English", "embedded", "float", "transformers", "torch", "Linux", "Python", "probes"),
        *("MistralForCausalLM", "sdpa", "none", "claim", "vocab"),
        *("size", "test", "record", "json"),
    }


# --- how values are shown ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "size"),
    [
        (1, "number", None),
        (True, "constant", None),
        (None, "constant", None),
        ("▁The", "word", None),
        ("x" * 2000, "text", (2000, "character")),
        ("a\nb\nc\nd\ne", "text", (9, "character")),
        ([*range(60)], "list", None),
        ([*range(61)], "list", (61, "item")),
        ([], "list", None),
        ([{"a": 1}, {"b": 2}], "table", None),
        ([{"a": 1}] * 61, "table", (61, "row")),
        ([[1, 2], [3]], "table", None),
        ({"a": {"x": 1}, "b": {"x": 2}}, "table", None),
        ({str(n): n for n in range(61)}, "table", (61, "entry")),
        ({}, "table", None),
        ([1, [2, [3]]], "json", (19, "character")),
        ([0] * (LARGEST_TABLE + 1), "json", (5007, "character")),
        ([{"a": 1}] * (LARGEST_TABLE + 1), "json", (12_014, "character")),
        ({str(n): [n] for n in range(70)}, "json", (962, "character")),
    ],
)
def test_value_is_shown_by_its_shape_and_folded_by_its_size(
    value: JsonValue, kind: str, size: object
) -> None:
    assert (show(value).kind, show(value).size) == (kind, size)


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        ([{"a": 1}, {"b": 2}], [["1", ""], ["", "2"]]),
        ({"mean": {"x": 1, "": 2}}, [["mean", "1", "2"]]),
    ],
)
def test_table_may_lack_cells_and_keeps_keys(value: JsonValue, cells: list[list[str]]) -> None:
    assert [[cell.text for cell in row] for row in show(value).rows] == cells


@pytest.mark.parametrize(
    ("number", "text", "exact"),
    [
        (28705, "28705", ""),
        (6_979_321_856, "6,979,321,856", ""),
        (-(10**6), "-1,000,000", ""),
        (0.1234567890123, "0.123457", "0.1234567890123"),
    ],
)
def test_number_is_grouped_or_shortened(number: float, text: str, exact: str) -> None:
    assert (show(number).text, show(number).exact) == (text, exact)


def test_checks_share_a_table_when_short_and_equal_in_shape() -> None:
    two = [check("a", values={"x": 1}), check("b", values={"x": 2})]
    assert tabulate(two) is not None
    assert tabulate(two[:1]) is None
    assert tabulate([*two, check("c", values={"y": 1})]) is None
    assert tabulate([*two, check("c", values={"x": "long" * 100})]) is None


def test_short_values_are_those_of_the_first_broken_check() -> None:
    values: dict[str, JsonValue] = {"long": "x" * 500, "table": [{"a": 1}], "ids": [1, 2]}
    broken = check(verdict=Verdict.FAILS, values={**values, **dict.fromkeys("abcdef", 1)})
    claim = planned("pad-token", evidence=(check(values={"fine": 1}), broken))
    assert [name for name, _ in list_short_values(claim)] == ["ids", "a", "b", "c", "d"]


# --- text is data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\0", "U+0000"),
        ("\x1b[31m", "U+001B"),
        ("\u202eabc", "U+202E"),
        ("a\u200bb", "U+200B"),
        ("\ufeff", "U+FEFF"),
        ("a\u00a0b", "U+00A0"),
        ("\ue000", "U+E000"),
        ("\U000e0041", "U+E0041"),
        ("a\tb", "⇥"),
        ("a\nb", "↵"),
        ("a\r\nb", "U+000D ↵"),
    ],
)
def test_unseen_character_is_made_visible(text: str, seen: str) -> None:
    html = mark(text)
    assert f">{seen}</span>" in html
    assert not set(text) & set(html) - set("abc[31m\n")


@pytest.mark.parametrize(
    "text", ["日本の首都は", "عاصمة اليابان", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "नमस्ते", "می‌خواهم", "e\u0301", "▁The"]
)
def test_any_script_is_unchanged(text: str) -> None:
    isolated = f"<bdi>{text}</bdi>"
    assert mark(text) == (isolated if text in ("عاصمة اليابان", "می‌خواهم") else text)


def test_every_text_from_right_to_left_is_isolated() -> None:
    shown = (c for c in map(chr, range(0x110000)) if not SPECIAL.match(c))
    turning = {c for c in shown if unicodedata.bidirectional(c) in ("R", "AL", "AN")}
    assert turning
    assert all(map(RIGHT_TO_LEFT.match, turning))


def test_spaces_that_matter_are_marked() -> None:
    assert mark(" a b  c ") == (
        '<span class="spaces"> </span>a b<span class="spaces">  </span>c'
        '<span class="spaces"> </span>'
    )


def hostile() -> Record:
    texts = {"section": HOSTILE, "title": HOSTILE, "differs": HOSTILE}
    claim = planned(HOSTILE, checks=2, status=Status.REFINED, **texts)
    values: dict[str, JsonValue] = {
        HOSTILE: HOSTILE,
        "list": [HOSTILE],
        "table": [{HOSTILE: HOSTILE}],
        "dict": {HOSTILE: HOSTILE},
        "json": [[[HOSTILE]]],
        "long": "<b>" * 33_334,
    }
    checks = [
        (HOSTILE, check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values=values)),
        (HOSTILE + "2", check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values={"x": HOSTILE})),
        (HOSTILE + "2", check(HOSTILE, reason=HOSTILE, values={"x": HOSTILE})),
    ]
    return record(
        checks,
        header(claim, claim.model_copy(update={"id": HOSTILE + "2", "section": "two"})),
        target=TARGET.model_copy(update={"name": HOSTILE, "tokenizer": HOSTILE}),
        environment=ENVIRONMENT.model_copy(update={"packages": {HOSTILE: HOSTILE}}),
        started=HOSTILE,
        suite=HOSTILE,
    )


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    html = render(hostile())
    page = Page(html)
    assert page.tags["img"] == page.tags["b"] == 0
    assert page.tags["style"] == page.tags["script"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert "{{ 7 * 7 }}" in page.text
    assert page.text.count("<b>") == 33_334
    assert not set(html) & set("\0\x07\x1b\u202e\u2066\u200b\ufeff")


@pytest.mark.parametrize("make", [hostile, mixed])
def test_links_lead_to_unique_places(make: Callable[[], Record]) -> None:
    page = read_page(make())
    names = page.values("id")
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9:-]+", name) for name in names)
    links = {link for link in page.values("href") if link != "data:,"}
    assert links <= {f"#{name}" for name in names}


def test_page_allows_only_its_own_style_and_script(whole: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', whole)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "http" not in whole.replace("http-equiv", "")


def test_page_shows_what_each_claim_cost_and_the_dearest() -> None:
    plan = header(*(planned(f"claim-{n}") for n in range(12)))
    costs = [Cost(seconds=n, forward_passes=n, rows=2 * n, tokens=30 * n) for n in range(12)]
    checks = [(f"claim-{n}", check(cost=cost)) for n, cost in enumerate(costs)]
    text = read_page(record(checks, plan)).text
    table = text[text.index("What it cost") :]
    assert "claim-11 11.0 s 17% 11 22 330 claim-10 10.0 s 15% 10 20 300" in table
    assert "claim-2 2.0 s" in table
    assert "claim-1 1.0 s" not in table
    assert "all claims 1 min 6 s 100% 66 132 1,980" in table
    assert "Cost: 1.0 s · 1 forward pass · 2 sequences · 30 token positions" in text
    japanese = read_page(record(checks, plan), "ja").text
    assert "コスト: 1.0 秒 · フォワードパス 1 回 · 2 系列 · 30 トークン位置" in japanese
