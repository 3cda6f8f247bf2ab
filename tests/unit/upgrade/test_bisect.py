"""Bisection without uv and without a network: the search, what is asked, what is said."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from probes.cli import main
from probes.errors import UserError
from probes.schema.record import Record, Verdict
from probes.upgrade import bisect_words as words
from probes.upgrade import steps
from probes.upgrade.bisect_command import _bisect
from probes.upgrade.cells import Cell, Pin
from probes.upgrade.question import Finding, Question, differing, measure
from probes.upgrade.run import Asked, Attempt, End, Job, Outcome
from probes.upgrade.search import Answer, Side, contradictions, search
from probes.upgrade.steps import Search, Step
from tests.support.samples import check, header, planned, record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GOOD, BAD, SKIPPED = Side.GOOD, Side.BAD, Side.SKIPPED


class Judge:
    """Judges releases by a string of g, b and s, and keeps count."""

    def __init__(self, sides: str) -> None:
        self.sides = sides
        self.asked: list[str] = []

    def __call__(self, release: str) -> Side:
        self.asked.append(release)
        return {"g": GOOD, "b": BAD, "s": SKIPPED}[self.sides[int(release)]]


def answer(sides: str, more: int = 0) -> tuple[Answer, Judge]:
    judge = Judge(sides)
    return search([str(n) for n in range(len(sides))], judge, more), judge


# --- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(2, 40))
def test_every_place_of_a_single_change_is_found_in_few_steps(count: int) -> None:
    for place in range(1, count):
        found, judge = answer("g" * place + "b" * (count - place))
        assert (found.last_good, found.first_bad) == (str(place - 1), str(place))
        assert not found.skipped
        assert not found.contradictions
        assert len(judge.asked) == len(set(judge.asked)) <= (count - 2).bit_length()


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
def test_a_release_that_cannot_be_judged_leaves_a_range_only_where_it_must(
    sides: str, last_good: str, first_bad: str, skipped: tuple[str, ...]
) -> None:
    found, _ = answer(sides)
    assert (found.last_good, found.first_bad, found.skipped) == (last_good, first_bad, skipped)


def test_whatever_is_skipped_the_answer_is_true_of_what_was_judged() -> None:
    rng = random.Random(7)
    for _ in range(500):
        count = rng.randint(2, 30)
        place = rng.randint(1, count - 1)
        sides = ["g"] * place + ["b"] * (count - place)
        for other in range(1, count - 1):
            if rng.random() < 0.4:
                sides[other] = "s"
        found, judge = answer("".join(sides))
        low, high = int(found.last_good), int(found.first_bad)
        assert (sides[low], sides[high]) == ("g", "b")
        assert {*sides[low + 1 : high]} <= {"s"}
        assert len(judge.asked) == len(set(judge.asked))


def test_a_second_change_that_was_met_is_told() -> None:
    found, judge = answer("gggbbbbbbbggbbbb", more=2)
    assert found.contradictions
    low, high = int(found.last_good), int(found.first_bad)
    assert high - low == 1
    assert len(judge.asked) <= 6


def test_a_second_change_that_was_not_met_is_met_by_judging_all() -> None:
    sides = "ggbggggggggggggggggggggggbbbbb"
    assert not answer(sides)[0].contradictions
    found, judge = answer(sides, more=len(sides))
    assert found.contradictions == (("2", "3"),)
    assert sorted(map(int, judge.asked)) == list(range(1, len(sides) - 1))
    assert len(found.judged) == len(sides)


def test_more_are_taken_from_the_widest_gap() -> None:
    _, judge = answer("g" * 2 + "b" * 30, more=1)
    assert judge.asked[-1] == "23"


def test_no_contradiction_where_good_turns_bad_once() -> None:
    assert contradictions({0: GOOD, 1: SKIPPED, 2: GOOD, 5: BAD, 6: SKIPPED, 7: BAD}) == []


# --- the ends ------------------------------------------------------------------------------------

OFFERED = [Version(text) for text in ("4.46.3", "4.47.0", "4.57.6", "5.0.0")]


def test_the_stretch_goes_from_good_to_bad_in_the_order_of_versions() -> None:
    there = words.stretch(OFFERED, "a", Version("4.46.3"), Version("5.0.0"))
    back = words.stretch(OFFERED, "a", Version("5.0"), Version("4.47"))
    assert there == ("4.46.3", "4.47.0", "4.57.6", "5.0.0")
    assert back == ("5.0.0", "4.57.6", "4.47.0")


def test_an_end_that_is_not_offered_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UserError) as refused:
        words.stretch(OFFERED, "transformers", Version("4.46.3"), Version("4.99"))
    assert str(refused.value) == (
        "--bad 4.99: no stable release of transformers that the index offers and this Python can "
        "have; the nearest are 4.57.6 and 5.0.0"
    )
    with pytest.raises(UserError) as refused:
        words.stretch(OFFERED, "a", Version("5.0"), Version("5.0.0"))
    assert str(refused.value) == "--good and --bad are both 5.0: name two releases"


def findings(good: bool | None, bad: bool | None) -> dict[str, Finding]:
    said = {True: "holds", False: "fails: 14, not 20", None: "not installed: no"}
    return {
        "1": Finding(state=good, said=said[good]),
        "2": Finding(state=bad, said=said[bad]),
    }


QUESTION = Question(claim="default-length")


@pytest.mark.parametrize(
    ("good", "bad", "line"),
    [
        (
            True,
            True,
            "--bad 2 is not bad: the ends are alike, default-length has one verdict at both: 1: "
            "holds; 2: holds",
        ),
        (
            False,
            False,
            "--good 1 is not good: the ends are alike, default-length has one verdict at both: 1: "
            "fails: 14, not 20; 2: fails: 14, not 20",
        ),
        (None, False, "--good 1 cannot be judged by default-length: not installed: no"),
        (True, None, "--bad 2 cannot be judged by default-length: not installed: no"),
    ],
)
def test_ends_that_are_not_good_and_bad_are_refused(
    good: bool | None, bad: bool | None, line: str
) -> None:
    with pytest.raises(UserError) as refused:
        words.ends_differ(QUESTION, "1", "2", findings(good, bad))
    assert str(refused.value) == line


def test_a_claim_that_holds_at_the_bad_end_alone_is_searched_with_a_note() -> None:
    assert words.ends_differ(QUESTION, "1", "2", findings(True, False)) == ""
    assert words.ends_differ(QUESTION, "1", "2", findings(False, True)) == (
        "note: default-length fails at the good end and holds at the bad one; the search is for "
        "where that changed"
    )


# --- what is asked -------------------------------------------------------------------------------


def run_with(**values: Any) -> Record:
    checks = [
        ("collapse", check("test_it[narrow]", values=values)),
        ("collapse", check("test_it[wide]", values={"draws": 5})),
    ]
    return record(checks, plan=header(planned("collapse", checks=2)))


def test_a_verdict_answers_only_where_the_claim_holds_or_fails() -> None:
    question = Question(claim="pad-token")
    cases: list[tuple[Verdict, bool | None]] = [
        (Verdict.HOLDS, True),
        (Verdict.FAILS, False),
        (Verdict.ERROR, None),
        (Verdict.NOT_APPLICABLE, None),
    ]
    for verdict, state in cases:
        one = record([("pad-token", check(verdict=verdict, reason="why"))], plan=header())
        assert question.answer(one).state is state
    assert Question(claim="absent").answer(one) == Finding(state=None, said="it was not decided")


def test_a_number_is_held_against_the_threshold() -> None:
    question = measure("collapse.probability.first", 0.5)
    found = question.answer(run_with(probability={"first": 0.75}))
    assert found == Finding(state=True, said="collapse.probability.first = 0.75, above 0.5")
    assert question.answer(run_with(probability={"first": 0.5})).state is False
    assert measure("collapse.numbers.1", 1).answer(run_with(numbers=[1, 2])).state is True
    missing = question.answer(run_with(probability={"second": 1}))
    assert missing == Finding(
        state=None, said="collapse.probability.first is not among the evidence as a number"
    )
    assert question.answer(run_with(probability={"first": "NaN"})).state is None


def test_a_number_that_several_checks_have_needs_the_check_named() -> None:
    with pytest.raises(UserError) as refused:
        measure("collapse.draws", 1).answer(run_with(draws=3))
    assert str(refused.value) == (
        "2 checks of collapse have draws: name one, as in --measure 'collapse[narrow].draws'; "
        "they are narrow, wide"
    )
    found = measure("collapse[wide].draws", 4).answer(run_with(draws=3))
    assert found == Finding(state=True, said="collapse[wide].draws = 5, above 4")


def test_the_evidence_that_differs_is_shown_value_by_value() -> None:
    one, other = (run_with(tokens=n, text="a").claims[0] for n in (14, 20))
    assert differing(one, other) == ["narrow: tokens: 14 → 20"]
    many, none = (run_with(**values).claims[0] for values in (dict.fromkeys("abcdef", 1), {}))
    assert differing(many, none, most=2) == [
        "narrow: a: 1 → nothing",
        "narrow: b: 1 → nothing",
        "and 4 more",
    ]


# --- the log and the end -------------------------------------------------------------------------


def sought() -> Search:
    return Search(package="a", question=QUESTION, asked=Asked(targets=("embedded",)), python="3.11")


def test_a_log_is_taken_up_without_what_was_torn_or_is_gone(tmp_path: Path) -> None:
    log = tmp_path / sought().log_name
    (tmp_path / "here").mkdir()
    made = [
        Step(version="1", finding=Finding(state=True, said="holds"), seconds=1.0, run="here"),
        Step(version="2", finding=Finding(state=True, said="holds"), seconds=1.0, run="gone"),
        Step(version="3", finding=Finding(state=None, said="not installed"), seconds=1.0),
    ]
    for step in made:
        steps.add(log, step)
    with log.open("a", encoding="utf-8") as file:
        file.write('not a step\n{"version": "4", "find')
    assert steps.taken_up(log, tmp_path) == {"1": made[0], "3": made[2]}
    assert steps.taken_up(tmp_path / "none", tmp_path) == {}


def test_another_search_has_another_log() -> None:
    other = sought().model_copy(update={"question": measure("default-length.tokens", 1)})
    assert other.log_name != sought().log_name
    assert sought().log_name.startswith("a-default-length-")


def bisected(
    tmp_path: Path, verdicts: Mapping[str, Verdict | End], more: int = 0
) -> tuple[list[str], int]:
    """Bisect releases with made-up verdicts; gives those that were run and the exit code."""
    ran: list[str] = []
    asked = Asked(targets=("embedded",), claims=("default-length",))

    def job(version: str) -> Job:
        cell = Cell(python="3.11", pins=(Pin(package="a", version=version),))
        return Job(
            cell=cell,
            asked=asked,
            project=tmp_path,
            environments=tmp_path,
            report_dir=tmp_path,
        )

    def run(job: Job) -> Outcome:
        version = str(job.cell.version("a"))
        ran.append(version)
        verdict = verdicts[version]
        if isinstance(verdict, End):
            attempt = Attempt(target="embedded", end=verdict, reason="no solution")
            return Outcome(cell=job.cell, asked=asked, attempts=(attempt,))
        folder = tmp_path / job.cell.name / "embedded" / "20261123T075120Z"
        folder.mkdir(parents=True, exist_ok=True)
        reason = "14, not 20" if verdict is Verdict.FAILS else ""
        evidence = check(verdict=verdict, reason=reason, values={"tokens": len(reason)})
        found = record([("default-length", evidence)], plan=header(planned("default-length")))
        (folder / "record.json").write_text(found.model_dump_json(), encoding="utf-8")
        relative = folder.relative_to(tmp_path).as_posix()
        attempt = Attempt(target="embedded", end=End.RAN, run=relative)
        return Outcome(cell=job.cell, asked=asked, attempts=(attempt,))

    try:
        _bisect(sought(), tuple(verdicts), more, tmp_path, job, False, run)
    except Exception as ended:
        return ran, int(getattr(ended, "exit_code", -1))
    return ran, 0


HOLDS, FAILS = Verdict.HOLDS, Verdict.FAILS


def test_a_bisection_names_both_releases_and_shows_both_evidences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, code = bisected(tmp_path, {"1": FAILS, "2": FAILS, "3": HOLDS, "4": HOLDS})
    out = capsys.readouterr().out
    assert (ran, code) == (["1", "4", "2", "3"], 0)
    assert out.startswith(f"4 releases from 1 to 4; log: {tmp_path / sought().log_name}\n")
    assert "1. a 1: fails: 14, not 20 (" in out
    assert "default-length changes between a 2 and 3.\n" in out
    assert "last good: a 2: fails: 14, not 20\n" in out
    assert "first bad: a 3: holds\n" in out
    assert (
        "4 of the 4 releases from end to end were judged, and they show one change alone.\n" in out
    )
    assert "evidence that differs, 2 → 3:\n  test_it: tokens: 10 → 0\n" in out


def test_a_bisection_is_taken_up_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = {"1": HOLDS, "2": HOLDS, "3": FAILS, "4": FAILS}
    bisected(tmp_path, verdicts)
    log = tmp_path / sought().log_name
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert [json.loads(line)["version"] for line in lines] == ["1", "4", "2", "3"]
    log.write_text("".join(lines[:3]), encoding="utf-8")
    capsys.readouterr()
    ran, code = bisected(tmp_path, verdicts)
    assert (ran, code) == (["3"], 0)
    assert "1. a 1: holds, from the log\n" in capsys.readouterr().out


def test_a_bisection_says_what_could_not_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = End.NOT_INSTALLED
    ran, code = bisected(tmp_path, {"1": HOLDS, "2": missing, "3": missing, "4": FAILS})
    out = capsys.readouterr().out
    assert (sorted(ran), code) == (["1", "2", "3", "4"], 1)
    assert "3. a 2: not installed: no solution (" in out
    assert "between them could not be judged: 2, 3.\n" in out


def test_a_bisection_says_where_there_is_more_than_one_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = dict(zip("123456789", [HOLDS, FAILS, *[HOLDS] * 5, FAILS, FAILS], strict=True))
    _, code = bisected(tmp_path, verdicts, more=9)
    assert code == 1
    assert (
        "Not the only change: 2 is bad, and 3 beyond it good. The one named is the one that this "
        "search met.\n"
    ) in capsys.readouterr().out


# --- the command line ----------------------------------------------------------------------------

ENDS = ["--good", "1", "--bad", "2"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*ENDS], "name what counts: --claim ID, or --measure CLAIM.KEY with --threshold X"),
        (
            [*ENDS, "--claim", "pad-tokem"],
            "no claim 'pad-tokem'; did you mean 'pad-token'?; `probes claims` lists them",
        ),
        (
            [*ENDS, "--claim", "pad-token", "--threshold", "1"],
            "--threshold goes with --measure; a claim's verdict needs none",
        ),
        (
            [*ENDS, "--measure", "collapse.probability"],
            "--measure collapse.probability: say with --threshold what to hold it against",
        ),
        (
            [*ENDS, "--measure", "collapse", "--threshold", "1"],
            "--measure 'collapse': expected CLAIM.KEY or CLAIM[CHECK].KEY.KEY, as in "
            "collapse.probability",
        ),
        (
            ["--good", "one", "--bad", "2", "--claim", "pad-token"],
            "--good 'one' is no version; give one such as 5.0.0",
        ),
        (
            [*ENDS, "--claim", "pad-token", "--python", "3.11,3.12"],
            "--python '3.11,3.12': a bisection takes one version",
        ),
        (
            [*ENDS, "--claim", "pad-token", "--target", "embeded"],
            "no target 'embeded'; did you mean 'embedded'? Known targets: embedded, "
            "mistral-7b-nf4, mistral-7b-fp16, gpt2-xl, mistral-7b-random; a folder is named by "
            "its path, a model on the hub as org/model",
        ),
        (
            [*ENDS, "--claim", "pad-token", "--find-links", "nowhere"],
            "no folder 'nowhere': --find-links takes a folder of wheels, or a URL",
        ),
    ],
)
def test_a_bisection_that_cannot_be_is_refused_in_a_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bisect", "transformers", *arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err == f"probes: {line}\n"


@pytest.mark.parametrize("text", ["torch==2.4,2.5", "torch==latest", "transformers==5.0"])
def test_another_package_is_taken_in_one_version(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "probes.upgrade.bisect_command.releases", lambda *_: [Version("1"), Version("2")]
    )
    with pytest.raises(SystemExit) as ended:
        main(["bisect", "transformers", *ENDS, "--claim", "pad-token", "--with", text])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"probes: --with {text!r}: a bisection takes one exact version of each other package\n"
    )
