from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.report.evidence import LARGEST_TABLE, list_short_values, show, tabulate
from probes.report.files import INDEX_FILE, refresh_index, write_report
from probes.report.html.faults import faults_by_claim
from probes.report.html.history import MOST_RUNS, history
from probes.report.html.page import render, render_index
from probes.report.locale import LANGUAGES, texts
from probes.report.text.phrases import (
    format_command,
    format_counts,
    format_incomplete,
    format_key,
    format_time,
)
from probes.report.visible import mark
from probes.results.index import Run, list_runs
from probes.results.journal import Journal
from probes.schema.claim import Status, catalogue
from probes.schema.record import ClaimRecord, Record, TargetFacts, Verdict
from tests.support.page_reader import Page
from tests.support.samples import (
    ENVIRONMENT,
    FINISHED,
    HOSTILE,
    STARTED,
    TARGET,
    check,
    header,
    mixed,
    planned,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue


def shown(one: Record, language: str = "en") -> Page:
    return Page(render(one), language)


# --- what the page says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            {Verdict.HOLDS: 17, Verdict.FAILS: 1, Verdict.NOT_APPLICABLE: 1},
            "17 claims hold, 1 fails, 1 not applicable",
        ),
        ({Verdict.HOLDS: 19}, "all 19 claims hold"),
        ({Verdict.HOLDS: 1}, "1 claim holds"),
        ({Verdict.FAILS: 2, None: 1}, "2 claims fail, 1 undecided"),
        ({Verdict.ERROR: 1}, "1 claim ended in an error"),
        ({None: 3}, "3 claims undecided"),
        ({Verdict.HOLDS: 1200, Verdict.FAILS: 2}, "1,200 claims hold, 2 fail"),
        ({}, "no claims"),
    ],
)
def test_the_verdict_is_said_in_words(counts: dict[Verdict | None, int], sentence: str) -> None:
    assert format_counts(Counter(counts)) == sentence


def test_the_page_begins_with_the_verdict_and_what_is_wrong() -> None:
    text = shown(mixed()).text
    top = "3 claims hold, 1 fails, 1 ended in an error, 1 not applicable, 1 undecided."
    assert top[1:] in text
    order = [text.index(words) for words in (top[1:], "What is wrong", "Loading", "Target")]
    assert order == sorted(order)


def test_a_page_without_faults_has_no_part_on_what_is_wrong() -> None:
    assert "What is wrong" not in shown(record()).text


def test_target_environment_and_cost_are_shown() -> None:
    text = shown(record()).text
    for fact in (
        "MistralForCausalLM",
        "32,000 tokens",
        "3,512,345",
        "14.0 MB",
        "float32",
        "transformers 5.23.0",
        "Python 3.11.7",
        "Time in checks 20 ms",
        "Forward passes 2",
        "23 November 2026, 07:51 UTC",
    ):
        assert fact in text


def test_a_claim_shows_statement_status_difference_reason_and_how_to_decide_it_alone() -> None:
    text = shown(mixed()).text
    assert (
        "not applicable load-nf4 refined What load-nf4 states. the target is not quantized "
        "Differs from the published text. Adds the numbers. "
        f"How it is decided. {texts('en')['method.load-nf4']} "
        "Decide it alone pytest tests/claims --claim load-nf4" in text
    )


def test_the_whole_reason_of_a_check_is_in_its_evidence() -> None:
    text = shown(mixed()).text
    assert text.count("expected 20 new tokens, got 14") == 3
    assert "expected 20 new tokens, got 14↵ assert 14 == 20" in text


def test_evidence_of_faults_stands_open_and_the_rest_is_folded() -> None:
    html = render(mixed())
    assert len(re.findall(r'<details class="evidence" open>', html)) == 1
    assert len(re.findall(r'<details class="evidence">', html)) == 3


def test_checks_that_are_alike_share_a_table() -> None:
    assert "Check Verdict text ids English holds The capital 1 2 Japanese" in shown(mixed()).text


def test_checks_left_out_by_the_command_line_are_mentioned() -> None:
    assert "2 checks of it were deselected on the command line." in shown(mixed()).text


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (None, "Incomplete: the run did not reach its end. 1 of 2 checks were made."),
        (FINISHED, "Incomplete: the run ended early. 1 of 2 checks were made."),
    ],
)
def test_an_incomplete_run_says_so(finished: str | None, words: str) -> None:
    part = record([("bos-inserted", check())], finished=finished)
    assert format_incomplete(part) == words
    assert f"{words} Everything decided until then is shown." in shown(part).text
    assert "未完了: 実行は" in shown(part, "ja").text
    assert "<title>embedded: incomplete, 1 claim holds, 1 undecided</title>" in render(part)


def test_a_complete_run_does_not_speak_of_completeness() -> None:
    assert "incomplete" not in shown(record()).text.lower()


def test_a_run_without_claims_is_a_page_too() -> None:
    assert "No claims." in shown(record(plan=header().model_copy(update={"claims": ()}))).text


@pytest.mark.parametrize(
    ("claim_id", "target", "line"),
    [
        ("pad-token", TARGET, "pytest tests/claims --claim pad-token"),
        ("my-claim", TARGET, "pytest --claim my-claim"),
        (
            "pad-token",
            TargetFacts(name="org/tiny", source="hub"),
            "pytest tests/claims --target org/tiny --claim pad-token",
        ),
        (
            "pad-token",
            TargetFacts(name="my model", source="folder"),
            "pytest tests/claims --target 'path/to/my model' --claim pad-token",
        ),
    ],
)
def test_the_command_that_decides_a_claim_alone(
    claim_id: str, target: TargetFacts, line: str
) -> None:
    assert format_command(planned(claim_id), target) == line


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert format_time("yesterday") == "yesterday"


def test_a_label_is_never_empty() -> None:
    assert format_key("__") == "__"


def test_what_is_wrong_says_what_was_stated_found_and_measured() -> None:
    assert (
        "fails What default-length states. Found expected 20 new tokens, got 14 "
        "Evidence prompt tokens 6 · new tokens 14" in shown(mixed()).text
    )


def test_short_values_are_those_of_the_first_broken_check() -> None:
    values: dict[str, JsonValue] = {"long": "x" * 500, "table": [{"a": 1}], "ids": [1, 2]}
    claim = planned("pad-token").model_copy(
        update={
            "evidence": (
                check(values={"fine": 1}),
                check(verdict=Verdict.FAILS, values={**values, **dict.fromkeys("abcdef", 1)}),
            )
        }
    )
    assert [name for name, _ in list_short_values(claim)] == ["ids", "a", "b", "c", "d"]


# --- languages -----------------------------------------------------------------------------------


CATALOGUE = ("title.", "differs.", "section.")
"""What the English of stands in the catalogue itself."""


def fields(text: str) -> set[str]:
    return set(re.findall(r"{(\w*)}", text))


def test_every_language_has_the_same_texts_with_the_same_values() -> None:
    english = texts("en")
    for language in LANGUAGES:
        said = {k: text for k, text in texts(language).items() if not k.startswith(CATALOGUE)}
        assert {key: fields(text) for key, text in said.items()} == {
            key: fields(text) for key, text in english.items()
        }
        assert all(text.strip() for text in said.values())


def test_every_statement_of_the_catalogue_has_its_japanese() -> None:
    claims = catalogue().values()
    expected = {f"title.{claim.id}" for claim in claims}
    expected |= {f"differs.{claim.id}" for claim in claims if claim.differs}
    expected |= {f"section.{claim.section}" for claim in claims}
    assert {key for key in texts("ja") if key.startswith(CATALOGUE)} == expected


def test_a_japanese_statement_keeps_what_is_quoted() -> None:
    for claim in catalogue().values():
        japanese = texts("ja")[f"title.{claim.id}"]
        numbers = re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", claim.title)
        assert [number for number in numbers if number not in japanese] == [], claim.id


def test_every_section_has_an_introduction_and_every_claim_its_method() -> None:
    for claim in catalogue().values():
        assert f"introduction.{claim.section}" in texts("en")
        assert f"method.{claim.id}" in texts("en")
    sections = {claim.section for claim in catalogue().values()}
    written = {key for key in texts("en") if key.startswith(("introduction.", "method."))}
    assert len(written) == len(sections) + len(catalogue())


def of_the_catalogue(claim_id: str, **more: str) -> Record:
    claim = ClaimRecord(**catalogue()[claim_id].model_dump(), planned=1).model_copy(update=more)
    return record(plan=header(claim))


def test_a_statement_of_the_catalogue_is_there_in_both_languages() -> None:
    one = of_the_catalogue("beam-one")
    assert "Beam search with one beam is greedy decoding." in shown(one).text
    japanese = shown(one, "ja").text
    assert "ビームが 1 本のビームサーチは貪欲デコードである。" in japanese
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
def test_a_statement_that_is_not_the_catalogues_is_shown_as_it_is(one: Record) -> None:
    for language in LANGUAGES:
        assert "One beam was greedy once." in shown(one, language).text


def test_a_claim_of_ones_own_is_said_to_be_decided_in_no_particular_way() -> None:
    one = record(plan=header(planned("mine", section="Mine")))
    assert "How it is decided" not in shown(one).text


def test_no_english_of_the_page_is_left_in_japanese() -> None:
    """Every word that is not data: the English on the page is the samples' alone."""
    text = shown(of_the_catalogue("vocab-size"), "ja").text
    for fault in faults_by_claim()["vocab-size"]:  # data, too
        text = text.replace(fault.stands_for, "").replace(fault.name, "")
    words = set(re.findall(r"[A-Za-z]{4,}", text))
    assert words <= {
        *("English", "embedded", "float", "transformers", "torch", "Linux", "Python", "probes"),
        *("MistralForCausalLM", "sdpa", "none", "pytest", "tests", "claims", "claim", "vocab"),
        *("size", "test", "record", "json"),
    }


# --- how values are shown ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "number"),
        (True, "constant"),
        (None, "constant"),
        ("▁The", "word"),
        ("x" * 161, "text"),
        ("a\nb\nc\nd\ne", "text"),
        ([1, 2], "list"),
        ([], "list"),
        ([{"a": 1}, {"b": 2}], "table"),
        ([[1, 2], [3]], "table"),
        ({"a": 1}, "table"),
        ({"a": {"x": 1}, "b": {"x": 2}}, "table"),
        ({}, "table"),
        ([1, [2, [3]]], "json"),
        (list(range(LARGEST_TABLE + 1)), "json"),
        ([{"a": 1}] * (LARGEST_TABLE + 1), "json"),
        ([[1]] * (LARGEST_TABLE + 1), "json"),
        ({str(n): [n] for n in range(70)}, "json"),
    ],
)
def test_a_values_shape_decides_how_it_is_shown(value: JsonValue, kind: str) -> None:
    assert show(value).kind == kind


def test_what_is_long_is_folded_under_its_size() -> None:
    assert show("x" * 2000).size == (2000, "character")
    assert show([*range(61)]).size == (61, "item")
    assert show([{"a": 1}] * 61).size == (61, "row")
    assert show({str(n): n for n in range(61)}).size == (61, "entry")
    assert show([*range(60)]).size is None


def test_rows_of_a_table_may_lack_columns() -> None:
    table = show([{"a": 1}, {"b": 2}])
    assert table.header == ("a", "b")
    assert [[cell.text for cell in row] for row in table.rows] == [["1", ""], ["", "2"]]


def test_a_dict_of_dicts_keeps_its_keys_beside_the_rows() -> None:
    table = show({"mean": {"x": 1, "": 2}})
    assert [[cell.text for cell in row] for row in table.rows] == [["mean", "1", "2"]]


def test_a_number_shown_short_keeps_all_its_digits() -> None:
    number = show(0.1234567890123)
    assert (number.text, number.exact) == ("0.123457", "0.1234567890123")


@pytest.mark.parametrize(
    ("number", "text"),
    [(28705, "28705"), (6_979_321_856, "6,979,321,856"), (-(10**6), "-1,000,000")],
)
def test_digits_are_grouped_beyond_token_ids(number: int, text: str) -> None:
    assert show(number).text == text


def test_checks_with_different_or_long_evidence_share_no_table() -> None:
    alike = [check("a", values={"x": 1}), check("b", values={"x": 2})]
    assert tabulate(alike) is not None
    assert tabulate(alike[:1]) is None
    assert tabulate([*alike, check("c", values={"y": 1})]) is None
    assert tabulate([*alike, check("c", values={"x": "long" * 100})]) is None


# --- text is data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\0", "U+0000"),
        ("\x1b[31m", "U+001B"),
        ("\u202eabc", "U+202E"),
        ("a\u2066b", "U+2066"),
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
def test_what_has_no_shape_is_made_visible(text: str, seen: str) -> None:
    html = mark(text)
    assert f">{seen}</span>" in html
    assert not set(text) & set(html) - set("abc[31m\n")


@pytest.mark.parametrize(
    "text", ["日本の首都は", "عاصمة اليابان", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "नमस्ते", "می‌خواهم", "e\u0301", "▁The"]
)
def test_any_script_is_left_as_it_is(text: str) -> None:
    assert mark(text) == f"<bdi>{text}</bdi>"


def test_spaces_that_matter_are_marked_and_stay_spaces() -> None:
    assert mark(" a b  c ") == (
        '<bdi><span class="spaces"> </span>a b<span class="spaces">  </span>c'
        '<span class="spaces"> </span></bdi>'
    )


def hostile() -> Record:
    """A record whose every text is hostile."""
    claim = ClaimRecord(
        id=HOSTILE,
        section=HOSTILE,
        title=HOSTILE,
        status=Status.REFINED,
        differs=HOSTILE,
        planned=2,
    )
    values: dict[str, JsonValue] = {
        HOSTILE: HOSTILE,
        "list": [HOSTILE],
        "table": [{HOSTILE: HOSTILE}],
        "dict": {HOSTILE: HOSTILE},
        "json": [[[HOSTILE]]],
        "long": "<b>" * 33_334,
    }
    plan = header(claim, claim.model_copy(update={"id": HOSTILE + "2", "section": "two"}))
    target = TARGET.model_copy(update={"name": HOSTILE, "tokenizer": HOSTILE, "source": "folder"})
    environment = ENVIRONMENT.model_copy(update={"packages": {HOSTILE: HOSTILE}})
    checks = [
        (HOSTILE, check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values=values)),
        (HOSTILE + "2", check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values={"x": HOSTILE})),
        (HOSTILE + "2", check(HOSTILE, reason=HOSTILE, values={"x": HOSTILE})),
    ]
    return record(
        checks, plan, target=target, environment=environment, started=HOSTILE, suite=HOSTILE
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


def test_names_of_places_on_the_page_are_unique() -> None:
    for one in (hostile(), mixed()):
        names = shown(one).values("id")
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"[a-z0-9:-]+", name) for name in names)


def test_every_link_on_the_page_leads_somewhere_on_it() -> None:
    page = shown(mixed())
    assert {f"#{name}" for name in page.values("id")} >= {
        link for link in page.values("href") if link != "data:,"
    }


def test_the_page_lets_nothing_in_but_its_own_style() -> None:
    html = render(mixed())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "http" not in html.replace("http-equiv", "")


# --- the list of runs ----------------------------------------------------------------------------


def finished_run(report_dir: Path, name: str = "embedded", started: str = STARTED) -> Path:
    target = TARGET.model_copy(update={"name": name})
    journal = Journal.begin(report_dir, header(target=target, started=started))
    journal.write_check("bos-inserted", check())
    journal.write_check("pad-token", check(verdict=Verdict.FAILS, reason="it has one"))
    journal.finish(FINISHED, write_report)
    return journal.folder


def index(report_dir: Path) -> Page:
    refresh_index(report_dir)
    return Page((report_dir / INDEX_FILE).read_text(encoding="utf-8"))


def test_the_index_lists_targets_by_name_and_runs_newest_first(tmp_path: Path) -> None:
    for name, started in (
        ("tiny", STARTED),
        ("embedded", STARTED),
        ("embedded", "2026-11-24T10:00:00Z"),
    ):
        finished_run(tmp_path, name, started)
    page = index(tmp_path)
    assert [link for link in page.values("href") if link.endswith(".html")] == [
        "embedded/20261124T100000Z/report.html",
        "embedded/20261123T075120Z/report.html",
        "tiny/20261123T075120Z/report.html",
    ]
    assert page.text.count("1 claim holds, 1 fails") == 3
    assert "transformers 5.23.0" in page.text


def test_the_index_lists_broken_and_stopped_runs_as_such(tmp_path: Path) -> None:
    whole = finished_run(tmp_path)
    stopped = Journal.begin(tmp_path, header())
    stopped.write_check("bos-inserted", check())
    for name, text in {
        "20261101T000000Z": "",
        "20261102T000000Z": '{"schema_version": 1, "claims": [',
        "20261103T000000Z": '{"schema_version": 99}',
        "20261104T000000Z": "[" * 100_000,
        "20261105T000000Z": '{"foreign": true}',
    }.items():
        folder = tmp_path / "embedded" / name
        folder.mkdir()
        (folder / "record.json").write_text(text, encoding="utf-8")
    (tmp_path / "embedded" / "20261106T000000Z").mkdir()
    (tmp_path / "stray.txt").write_text("not a run", encoding="utf-8")
    runs = list_runs(tmp_path)
    assert [(run.readable, run.complete) for run in runs[:2]] == [(True, False), (True, True)]
    assert [run.readable for run in runs[2:]] == [False] * 5
    text = index(tmp_path).text
    assert text.count("unreadable") == 5
    assert text.count("incomplete") == 1
    assert "contains no record that this version can read" in text
    assert f"probes report on embedded/{stopped.folder.name} makes one" in text
    assert f"probes report on embedded/{whole.name} " not in text


def test_a_target_folder_that_may_not_be_read_is_listed_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(tmp_path)
    locked = tmp_path / "locked"
    locked.mkdir()
    iterdir = Path.iterdir

    def denied(self: Path) -> Iterator[Path]:
        if self == locked:
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert [(run.target, run.readable) for run in list_runs(tmp_path)] == [
        ("embedded", True),
        ("locked", False),
    ]


def several_runs(report_dir: Path, verdicts: str) -> list[Run]:
    """Runs an hour apart; `h` and `f` are what `pad-token` came to, `-` a run without it."""
    for hour, letter in enumerate(verdicts):
        plan = header(started=f"2026-11-23T{hour:02}:00:00Z")
        if letter == "-":
            plan = plan.model_copy(update={"claims": plan.claims[:1]})
        journal = Journal.begin(report_dir, plan)
        journal.write_check("bos-inserted", check())
        if letter != "-":
            verdict = {"h": Verdict.HOLDS, "f": Verdict.FAILS}[letter]
            journal.write_check("pad-token", check(verdict=verdict, reason="it has one"))
        journal.finish(FINISHED, write_report)
    return list_runs(report_dir)


@pytest.mark.parametrize(
    ("verdicts", "changed"),
    [("hh", ""), ("hf", " *"), ("hff", " * "), ("h-f", "  *"), ("fhf", " **"), ("-h", "  ")],
)
def test_the_history_marks_where_a_verdict_changed(
    tmp_path: Path, verdicts: str, changed: str
) -> None:
    past = history(several_runs(tmp_path, verdicts))
    (row,) = (row for row in past.rows if row.claim == "pad-token")
    marks = "".join("*" if cell.has_changed else " " for cell in row.cells)
    assert marks.rstrip() == changed.rstrip()
    assert [cell.is_present for cell in row.cells] == [letter != "-" for letter in verdicts]
    assert past.changes == ("*" in changed)


def test_the_history_has_the_last_runs_and_what_changed_first(tmp_path: Path) -> None:
    past = history(several_runs(tmp_path, "f" * 5 + "h" * (MOST_RUNS - 1) + "f"))
    assert len(past.runs) == MOST_RUNS
    assert past.runs[-1].started > past.runs[0].started
    assert [row.claim for row in past.rows] == ["pad-token", "bos-inserted"]


def test_the_index_shows_the_history_in_words_too(tmp_path: Path) -> None:
    several_runs(tmp_path, "hf")
    text = index(tmp_path).text
    assert "Claim by claim over the last 2 runs: 1 claim changed its verdict" in text
    assert "pad-token holds fails, changed" in text


def test_one_run_has_no_history(tmp_path: Path) -> None:
    several_runs(tmp_path, "h")
    assert "Claim by claim" not in index(tmp_path).text


def test_a_folder_without_runs_has_an_index_that_says_so(tmp_path: Path) -> None:
    assert index(tmp_path).text.endswith("No runs yet.")


def test_a_hostile_target_name_in_the_index_is_text(tmp_path: Path) -> None:
    finished_run(tmp_path, HOSTILE)
    page = index(tmp_path)
    assert page.tags["img"] == 0
    assert page.tags["script"] == 1
    assert "</script>" in page.text


def test_an_index_of_no_runs_renders() -> None:
    assert "No runs yet." in render_index([])
