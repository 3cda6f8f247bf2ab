"""Examples of the documentation work: what is cheap is run, of the rest the arguments are read."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path

import pytest
from click import Group
from packaging.requirements import Requirement
from typer.main import get_command

from probes import cli
from tests.repository.test_docs import PAGES, ROOT, blocks, commands, each_page, read
from tests.repository.test_packaging import project
from tests.support.command import run

RUN_HERE = ("claims", "schema")
"""Verbs of `probes` that need nothing and change nothing."""

CHECKED_ELSEWHERE = {"pytest", "probes", "python"}
"""Commands whose arguments tests read."""

OF_OTHERS = {
    *("bash", "cp", "curl", "docker", "export", "mkdir", "source"),
    *("hf", "lint-imports", "mypy", "pre-commit", "ruff", "vllm"),
}
"""Commands that are not of this project."""


def words_of_commands(page: Path) -> list[list[str]]:
    """The commands of a page's code blocks, each as words, without variables set for it."""
    found = []
    for body in blocks(read(page), "bash", "console"):
        lines = body.splitlines()
        prompt = "$ " if any(line.startswith("$ ") for line in lines) else ""
        for line in lines:
            if line.startswith(prompt):
                for command in line.removeprefix(prompt).split(" && "):
                    words = shlex.split(command, comments=True)
                    found.append([*dropwhile(lambda word: "=" in word, words)])
    return [words for words in found if words]


@each_page
def test_commands_on_a_page_are_known(page: Path) -> None:
    for first, *rest in words_of_commands(page):
        if "/" in first:
            assert (ROOT / first).is_file() or not first.startswith("."), first
        else:
            assert first in CHECKED_ELSEWHERE | OF_OTHERS, [first, *rest]


@each_page
def test_modules_on_a_page_exist(page: Path) -> None:
    for first, *rest in words_of_commands(page):
        if first == "python" and rest[:1] == ["-m"]:
            assert find_spec(rest[1]) is not None or rest[1] == "pip", rest


@each_page
def test_extras_on_a_page_exist(page: Path) -> None:
    extras = set(project()["optional-dependencies"])
    for words in words_of_commands(page):
        if words[:3] == ["python", "-m", "pip"]:
            for word in words[4:]:
                if word.startswith(".["):
                    assert Requirement(f"lm-probes{word[1:]}").extras <= extras


@each_page
def test_arguments_of_probes_on_a_page_are_read(page: Path) -> None:
    group: Group = get_command(cli.app)  # type: ignore[assignment]
    for verb, *words in commands(read(page), "probes"):
        if not verb.startswith("-"):
            group.commands[verb].make_context(verb, words)


@pytest.mark.parametrize(
    "words",
    sorted(
        {
            tuple(words)
            for page in PAGES
            for words in commands(read(page), "probes")
            if words[0] in RUN_HERE and ">" not in words
        }
    ),
    ids=" ".join,
)
def test_cheap_commands_of_probes_run(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 0
    assert capsys.readouterr().out


@each_page
def test_python_on_a_page_compiles(page: Path) -> None:
    for number, source in enumerate(blocks(read(page), "python")):
        compile(source, f"{page.name}, block {number}", "exec")


def test_finding_on_the_embedded_model_shows_again() -> None:
    (source,) = (body for body in blocks(read("docs/findings.md"), "python") if "/embedded" in body)
    exec(compile(source, "docs/findings.md", "exec"), {})  # noqa: S102 - it is ours
