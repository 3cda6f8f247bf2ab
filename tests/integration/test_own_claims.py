"""The examples of the page on claims of your own, run as they are printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import model_folders
from tests.support.project import Project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def test_first_example_gives_a_record(warm_project: Project) -> None:
    example, _ = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    (warm_project.folder / "test_mine.py").write_text(example, encoding="utf-8")
    result = warm_project.run()
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["claims on embedded*", "report: reports/embedded/*/report.html"])
    claim = warm_project.claims()["greeting"]
    assert (claim["verdict"], claim["section"]) == ("holds", "Claims of your own")
    assert [check["name"] for check in claim["evidence"]] == [
        "test_answers_a_greeting_with_words[Hello]",
        "test_answers_a_greeting_with_words[Good morning]",
    ]
    assert all(check["values"]["answer"] for check in claim["evidence"])


def test_second_example_decides_one_claim(warm_project: Project) -> None:
    _, example = blocks("python")
    (warm_project.folder / "test_mine.py").write_text(example, encoding="utf-8")
    assert warm_project.run().ret == pytest.ExitCode.OK
    claim = warm_project.claims()["ends"]
    assert (claim["verdict"], claim["section"], claim["planned"]) == ("holds", "Answers", 2)


def test_example_targets_are_found(
    warm_project: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    (toml,) = blocks("toml")
    folder = copy_of_embedded()
    (warm_project.folder / "models").mkdir()
    (warm_project.folder / "models" / "ours").symlink_to(folder)
    warm_project.pytester.makepyprojecttoml(toml + "\n[tool.pytest.ini_options]\n")
    (warm_project.folder / "test_mine.py").write_text(blocks("python")[1], encoding="utf-8")
    assert warm_project.run("--target", "ours").ret == pytest.ExitCode.OK
    target = warm_project.record()["target"]
    assert (target["name"], target["dtype"]) == ("ours", "bfloat16")


def test_own_test_adds_check_to_built_in_claim(warm_project: Project) -> None:
    warm_project.test_file(
        """
@pytest.mark.claim("round-trip")
def test_our_texts_come_back(model):
    assert model.decode(model.encode("日本", add_special_tokens=False)) == "日本"
"""
    )
    assert warm_project.run().ret == pytest.ExitCode.OK
    assert warm_project.claims()["round-trip"]["section"] == "Tokenizer"


def test_every_field_of_a_claim_is_documented() -> None:
    from probes.schema.claim import Claim

    documented = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert documented[: len(Claim.model_fields)] == ["id", "title", "section", *documented[3:7]]
    assert set(documented) == set(Claim.model_fields)


def test_claim_is_not_applicable_without_a_capability(warm_project: Project) -> None:
    folder = model_folders.gpt2(warm_project.folder / "model")
    warm_project.test_file(
        """
messages = [{"role": "user", "content": "Hello"}]

@pytest.mark.claim("declared", title="It answers.", needs=("model", "chat"))
def test_answers(model):
    assert model.chat(messages).text

@pytest.mark.claim("undeclared", title="It answers, too.")
def test_answers_too(model):
    assert model.chat(messages).text
"""
    )
    warm_project.run("--target", str(folder))
    for claim in ("declared", "undeclared"):
        record = warm_project.claims()[claim]
        assert record["verdict"] == "not applicable"
        assert record["reason"] == "its tokenizer has no chat template"
