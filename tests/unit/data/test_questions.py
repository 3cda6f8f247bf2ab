from __future__ import annotations

from pathlib import Path

import pytest

from probes.data.questions import FEWEST, MOST, built_in_questions, load_questions, read_questions
from probes.errors import UnusableTargetError, UserError
from probes.stats.answer_matching import states_answer
from probes.targets.preflight import preflight
from probes.targets.resolve import read_targets_file, resolve


def content(count: int = FEWEST, *, first: str = '"Who? 0" = ["x"]') -> str:
    others = [f'"Who? {number}" = ["y{number}"]' for number in range(1, count)]
    head = '[[group]]\norigin = "ours"\nafter = " "\n[group.questions]\n'
    return head + "\n".join([first, *others]) + "\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "questions.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_built_in_questions() -> None:
    published, ours = built_in_questions()[:3], built_in_questions()[3:]
    assert [question.text for question in published] == [
        "What is the capital of United States?",
        "When did World War II end?",
        "Who painted the Mona Lisa?",
    ]
    assert all(question.prompt is None for question in (*published, *ours))
    assert all(question.origin.startswith("published") for question in published)
    assert len({question.text for question in (*published, *ours)}) >= 63
    assert all(question.origin.startswith("ours") for question in ours)


def test_no_question_contains_its_answer() -> None:
    assert [q.text for q in built_in_questions() if states_answer(q.text, q.forms)] == []


def test_prompt_is_built_from_before_question_and_after(tmp_path: Path) -> None:
    questions = load_questions(write(tmp_path, content()))
    assert len(questions) == FEWEST
    first = questions[0]
    assert first.text == "Who? 0"
    assert (first.prompt, first.accepted, first.origin) == ("Who? 0 ", ("x",), "ours")


def test_questions_file_is_relative_to_the_targets_file(tmp_path: Path) -> None:
    write(tmp_path, content())
    targets = tmp_path / "targets.toml"
    targets.write_text('[targets.mine]\nfolder = "m"\nquestions = "questions.toml"\n')
    assert read_targets_file(targets)["mine"].questions == tmp_path / "questions.toml"


def test_preflight_refuses_unusable_questions(tmp_path: Path) -> None:
    target = resolve("embedded", overrides={"questions": str(tmp_path / "none.toml")})
    with pytest.raises(UnusableTargetError, match=r"none\.toml is missing or not a"):
        preflight(target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"asks 0 questions: give {FEWEST} to {MOST}"),
        (content(FEWEST - 1), f"asks {FEWEST - 1} questions"),
        (content(MOST + 1), f"asks {MOST + 1} questions"),
        ("[group]\n", "begin with \\[\\[group\\]\\]"),
        ("group = [1]", "should be a table, got 1"),
        ("groups = []", "unknown key 'groups'; did you mean 'group'"),
        ("[[group]]\n[group.questions]\n", "needs origin, got None"),
        ('[[group]]\norigin = "x"\n', "needs questions, got None"),
        ('[[group]]\norigin = "x"\nbefor = ""\n', "'befor'; did you mean 'before'"),
        (content(first='"Who?" = "x"'), "should be a list of texts, got 'x'"),
        (content(first='"Who?" = []'), "'Who\\? ': accepted"),
        (content(first='"Who?" = [1]'), "'Who\\? ': accepted"),
        (content(first='"Who?" = ["..."]'), "needs a letter or a digit, not '...'"),
        (content() + content(), "asks 'Who\\? 0 ' 2 times"),
        ("[[group]", "is not valid TOML"),
    ],
)
def test_unusable_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read_questions(write(tmp_path, text))
    assert "\n" not in str(raised.value)
