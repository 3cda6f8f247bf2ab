"""The documentation is true: links resolve, commands exist, generated pages are current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from probes.cli import app
from probes.plugin.options import REPORT_DIR
from probes.report.text.catalogue import catalogue_list, catalogue_page
from probes.schema.claim import Claim, Status, catalogue

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", f"{REPORT_DIR}/README.md", "probes/**/*.md")
    for page in ROOT.glob(pattern)
)
INSTALLS = (
    "python -m pip install -c constraints.txt -e '.[charts]' && pytest tests/claims",
    "python -m pip install -c constraints.txt -e '.[dev]' && pytest",
)

HOSTS = {"huggingface.co"}
"""Where a page may send its reader."""

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of the code blocks in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def commands(text: str, name: str) -> list[list[str]]:
    """What follows a command's name wherever code blocks call it."""
    found = []
    for line in "".join(blocks(text, "bash", "console")).splitlines():
        for command in line.removeprefix("$ ").split(" && "):
            words = shlex.split(command, comments=True)
            words = words[2:] if words[:2] == ["python", "-m"] else words
            if words[:1] == [name]:
                found.append(words[1:])
    return found


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("-")}


# --- the catalogue -------------------------------------------------------------------------------


def test_catalogue_page_is_current() -> None:
    assert read("docs/claims.md") == catalogue_page(), (
        "regenerate it: python -m probes claims --markdown > docs/claims.md"
    )


def test_catalogue_page_escapes_a_claim() -> None:
    claim = Claim(
        id="a-claim",
        section="A section",
        title="Pieces a|b and <s> are *not* the same.",
        needs=("bos",),
        status=Status.REFINED,
        differs="The published text has [one].",
    )
    assert catalogue_page([claim]).endswith(
        "## A section\n\n"
        "| claim | statement | needs |\n"
        "|---|---|---|\n"
        "| `a-claim` | Pieces a\\|b and \\<s\\> are \\*not\\* the same. *(refined)* | `bos` |\n\n"
        "Corrections of the published text:\n\n"
        "- `a-claim`: The published text has \\[one\\].\n"
    )


def test_catalogue_list_names_every_claim_once() -> None:
    lines = catalogue_list().splitlines()
    assert [line.split(":")[0].strip() for line in lines if line.startswith("  ")] == [*catalogue()]


# --- the README ----------------------------------------------------------------------------------


def test_readme_installs_by_two_commands() -> None:
    found = [line for body in blocks(read("README.md"), "bash") for line in body.splitlines()]
    assert [line for line in found if "pip install" in line] == [*INSTALLS]


def test_readmes_count_claims_and_findings() -> None:
    tens = len(catalogue()) // 10 * 10
    assert f" over {tens} named *claims*" in read("README.md")
    assert f" {tens} を超える**主張**" in read("README.ja.md")
    rows = re.findall(r"^\| \[.+\]\(#.+\) \|", read("docs/findings.md"), flags=re.MULTILINE)
    assert len(rows) == 12
    assert "[Twelve findings](docs/findings.md)" in read("README.md")
    assert "[12 の発見](docs/findings.md)" in read("README.ja.md")


def test_japanese_readme_has_the_same_code() -> None:
    english, japanese = read("README.md"), read("README.ja.md")
    for name in ("python", "pytest", "probes"):
        assert commands(japanese, name) == commands(english, name)
    assert blocks(japanese, "") == blocks(english, "")
    assert blocks(japanese, "python") == blocks(english, "python")


def test_readmes_link_to_each_other() -> None:
    assert "](README.ja.md)" in read("README.md").partition("##")[0]
    assert "](README.md)" in read("README.ja.md").partition("##")[0]


# --- every page ----------------------------------------------------------------------------------


@each_page
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", read(target), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]


@each_page
def test_page_names_no_machine(page: Path) -> None:
    text = read(page)
    assert re.findall(r"(?<![\w.~>])/(?:home|mnt|opt|root|srv|tmp|usr|var|work)/\S*", text) == []
    # Named as options they may be, but not with a value.
    assert re.findall(r"(?:--(?:extra-)?index-url|--find-links)[ =](?=[\w./])", text) == []
    assert set(re.findall(r"https?://([\w.-]+)", text)) <= HOSTS | {"127.0.0.1", "HOST"}


@pytest.fixture(scope="module")
def pytest_help() -> str:
    """All options that pytest takes here, those of plugins included."""
    command = [sys.executable, "-m", "pytest", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout


@each_page
def test_pytest_knows_the_options_on_a_page(page: Path, pytest_help: str) -> None:
    known = set(re.findall(r"(?<!\S)(--?[a-z][\w-]*)", pytest_help))
    for words in commands(read(page), "pytest"):
        if "-n" in words and "-n" not in known:  # it comes with an optional package
            known.add("-n")
        assert options(words) <= known
        paths = [word for word in words if word.startswith("tests")]
        assert all((ROOT / path).exists() for path in paths)


@each_page
def test_probes_knows_the_commands_on_a_page(page: Path, pytest_help: str) -> None:
    group = get_command(app)
    for verb, *words in commands(read(page), "probes"):
        command = group if verb.startswith("-") else group.commands[verb]  # type: ignore[attr-defined]
        known = {name for parameter in command.params for name in parameter.opts}
        if verb == "run":
            known |= set(re.findall(r"(?<!\S)(--?[a-z][\w-]*)", pytest_help)) | {"-n"}
        assert options([verb, *words] if verb.startswith("-") else words) <= known


def test_command_line_page_names_every_option(pytest_help: str) -> None:
    group = pytest_help.partition("claims about language models:")[2].partition("\n\n")[0]
    ours = re.findall(r"^  (--[a-z-]+)", group, flags=re.MULTILINE)
    assert len(ours) >= 10
    documented = re.findall(r"^\| `(--[a-z-]+)` \|", read("docs/command-line.md"), re.MULTILINE)
    assert documented == ours


def test_command_line_page_names_every_verb() -> None:
    text = read("docs/command-line.md")
    for verb in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`probes {verb}" in text


def test_sample_report_is_small() -> None:
    assert (ROOT / "docs" / "sample-report.html").stat().st_size < 2_000_000
