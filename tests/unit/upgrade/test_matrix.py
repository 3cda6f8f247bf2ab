"""The matrix without uv and without a network: cells, index, expectations, tables, pages."""

from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes.errors import UserError
from probes.schema.claim import catalogue
from probes.schema.record import Record, Verdict
from probes.upgrade import matrix_markdown as markdown
from probes.upgrade import matrix_terminal as terminal
from probes.upgrade import matrix_words as words
from probes.upgrade import pool
from probes.upgrade.cells import Cell, Pin, combine, label, pythons, resolved, varying, wanted
from probes.upgrade.environments import (
    Made,
    Sources,
    announced,
    default_folder,
    find_uv,
    place,
    relevant,
)
from probes.upgrade.expected import Expectation, expectations, expected
from probes.upgrade.matrix_page import render_matrix
from probes.upgrade.releases import File, indexes, listed, offered, releases
from probes.upgrade.run import (
    Asked,
    Attempt,
    End,
    Job,
    Outcome,
    StoppedError,
    attempt,
    attempts_before,
    command,
    decided_before,
    ending,
    environ,
    in_full,
    project_folder,
)
from probes.upgrade.table import Surprise, Table, surprise, tables
from tests.support.page_reader import Page
from tests.support.samples import ENVIRONMENT, HOSTILE, check, header, planned, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOLDS, FAILS, ERROR = Verdict.HOLDS, Verdict.FAILS, Verdict.ERROR
NOT_APPLICABLE = Verdict.NOT_APPLICABLE

ASKED = Asked(targets=("embedded",))
MADE = Made(project="", packages={"a": "1"}, size=1_380_000_000, downloaded=200_000_000, seconds=8)


def cells(*versions: str) -> tuple[Cell, ...]:
    pins = tuple(Pin(package="transformers", version=version) for version in versions)
    return combine([pins, wanted("torch==2.13.0")], ["3.11"])


def outcome(cell: Cell, end: End = End.RAN, reason: str = "", run: str | None = "run") -> Outcome:
    attempt = Attempt(target="embedded", end=end, reason=reason, run=run, seconds=61.0)
    made = None if end is End.NOT_INSTALLED else MADE
    return Outcome(cell=cell, asked=ASKED, attempts=(attempt,), made=made)


def a_record(version: str, verdicts: Mapping[str, tuple[Verdict, str]]) -> Record:
    """A run with one check a claim."""
    found = ENVIRONMENT.model_copy(update={"packages": {"transformers": version}})
    return record(
        [(claim, check(verdict=v, reason=reason)) for claim, (v, reason) in verdicts.items()],
        plan=header(*(planned(claim) for claim in verdicts)),
        environment=found,
    )


def table(
    columns: Mapping[str, Mapping[str, Verdict | tuple[Verdict, str]] | Outcome],
    stated: tuple[Expectation, ...] = (),
) -> Table:
    """A table from verdicts by version and claim."""
    records: dict[str, Record] = {}
    outcomes = []
    for cell, (version, content) in zip(cells(*columns), columns.items(), strict=True):
        if isinstance(content, Outcome):
            outcomes.append(content)
            continue
        pairs = {c: v if isinstance(v, tuple) else (v, "") for c, v in content.items()}
        records[version] = a_record(version, pairs)
        outcomes.append(outcome(cell, run=version))
    (found,) = tables(outcomes, records.get, stated)
    return found


def stated(claim: str = "default-length", **more: Any) -> Expectation:
    fields = {
        "claims": [claim],
        "package": "transformers",
        "versions": "<4.47",
        "verdict": "fails",
        "source": "measured",
        "because": "The prompt was counted.",
    }
    return Expectation.model_validate(fields | more)


def said(found: Table) -> dict[str, list[str]]:
    return {row.claim: [words.said(entry) for entry in row.entries] for row in found.rows}


# --- cells ---------------------------------------------------------------------------------------


def test_every_combination_of_versions_and_pythons_is_a_cell() -> None:
    found = combine([wanted("a==1,2"), wanted("b==3,4"), wanted("c")], ["3.10", "3.11"])
    assert [cell.name for cell in found[:2]] == [
        "a-1_b-3_c_python-3.10",
        "a-1_b-4_c_python-3.10",
    ]
    assert len({cell.name for cell in found}) == 8
    assert varying(found) == ("a", "b", "python")
    assert label(found[-1], varying(found)) == "a 2, b 4, python 3.11"


def test_names_and_versions_are_made_alike_and_given_once() -> None:
    assert wanted("Huggingface_Hub==1.0,1.0.0 ,latest") == (
        Pin(package="huggingface-hub", version="1.0"),
        Pin(package="huggingface-hub", version="1.0.0"),
        Pin(package="huggingface-hub", version="latest"),
    )
    assert resolved(wanted("a==2.0,latest"), lambda _: "2.0") == (Pin(package="a", version="2.0"),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "transformers>=5",
            "--with 'transformers>=5': expected PACKAGE==VERSION,VERSION,… or a package's name "
            "alone",
        ),
        ("", "--with '': expected PACKAGE==VERSION,VERSION,… or a package's name alone"),
        (
            "transformers==5.0,newest",
            "--with 'transformers==5.0,newest': 'newest' is no version; give one such as 5.0.0, "
            "or latest",
        ),
        (
            "../a==1",
            "--with '../a==1': expected PACKAGE==VERSION,VERSION,… or a package's name alone",
        ),
    ],
)
def test_what_is_no_version_is_refused(text: str, line: str) -> None:
    with pytest.raises(UserError) as refused:
        wanted(text)
    assert str(refused.value) == line


def test_a_package_named_twice_and_an_odd_python_are_refused() -> None:
    with pytest.raises(UserError) as refused:
        combine([wanted("a==1"), wanted("A==2")], ["3.11"])
    assert str(refused.value) == "--with names a twice: list its versions in one, with commas"
    with pytest.raises(UserError) as refused:
        pythons("3.11,pypy")
    assert str(refused.value) == (
        "--python '3.11,pypy': 'pypy' is no version; give one such as 3.12"
    )


# --- what an index offers ------------------------------------------------------------------------


def test_withdrawn_unfinished_and_unfitting_releases_are_left_out() -> None:
    files = [
        File("4.46.3"),
        File("4.5"),
        File("5.0.0rc1"),
        File("5.0.0.dev1"),
        File("5.1.0", yanked=True),
        File("5.2.0", yanked=True),
        File("5.2.0"),
        File("6.0", requires_python=">=3.12"),
        File("5.3", requires_python=">=3.11.5"),
        File("5.4", requires_python="what?"),
        File("not-a-version"),
        File("4.46.3"),
    ]
    assert list(map(str, offered(files, "3.11"))) == ["4.5", "4.46.3", "5.2.0", "5.3", "5.4"]


def test_the_first_index_that_knows_a_package_is_taken() -> None:
    def files(url: str, package: str) -> list[File]:
        return [File("1.0"), File("2.0")] if (url, package) == ("second", "a") else []

    assert str(releases("a", "3.11", ["first", "second", "third"], files)[-1]) == "2.0"
    with pytest.raises(UserError) as refused:
        releases("b", "3.11", ["https://me:secret@a.example/simple"], files)
    assert str(refused.value) == (
        "no package b in a.example: correct its name, or name the index that has it with "
        "--index-url"
    )
    with pytest.raises(UserError, match=r"^no stable release of a runs under Python 3\.11$"):
        releases("a", "3.11", ["x"], lambda *_: [File("1.0", requires_python=">=3.12")])


def test_the_index_is_the_option_then_uvs_variables_then_pypi() -> None:
    environ = {"UV_DEFAULT_INDEX": "https://b/", "UV_INDEX": "mine=https://c/ https://d/"}
    assert indexes(None, [], environ) == ("https://c/", "https://d/", "https://b/")
    assert indexes("https://e/", ["https://f/"], environ) == ("https://f/", "https://e/")
    assert indexes(None, [], {}) == ("https://pypi.org/simple/",)


def test_an_index_is_read_as_json_and_its_names_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    pypi_simple = pytest.importorskip("pypi_simple", reason="needs the extra upgrade")
    data = {
        "meta": {"api-version": "1.1"},
        "name": "a-b",
        "files": [
            {"filename": name, "url": f"https://x.example/{name}", "hashes": {}, **more}
            for name, more in {
                "a_b-1.0-py3-none-any.whl": {"requires-python": ">=3.8"},
                "a_b-2.0.tar.gz": {"yanked": "broken"},
                "a_b-1.0.exe": {},
            }.items()
        ],
    }
    page = pypi_simple.ProjectPage.from_json_data(data)
    monkeypatch.setattr(pypi_simple.PyPISimple, "get_project_page", lambda *_, **__: page)
    assert listed("https://x.example/", "a-b") == [
        File("1.0", requires_python=">=3.8"),
        File("2.0", yanked=True),
    ]


def test_an_index_that_cannot_be_asked_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pypi_simple = pytest.importorskip("pypi_simple", reason="needs the extra upgrade")

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("https://me:secret@x.example refused")

    monkeypatch.setattr(pypi_simple.PyPISimple, "get_project_page", fail)
    with pytest.raises(UserError) as refused:
        listed("https://me:secret@x.example/simple", "a")
    assert str(refused.value) == (
        "the index x.example cannot be asked for a (ConnectionError): check the connection, or "
        "name another with --index-url"
    )


# --- what is expected ----------------------------------------------------------------------------


def test_what_is_stated_names_claims_there_are_with_their_sources() -> None:
    assert expectations()
    for each in expectations():
        assert set(each.claims) <= set(catalogue())
        assert each.source == "measured" or each.source.startswith("https://")
        assert each.because.endswith(".")


def test_an_expectation_holds_for_its_versions_target_and_device() -> None:
    old = a_record("4.46.3", {"default-length": (FAILS, "")})
    new = a_record("4.47.0", {"default-length": (HOLDS, "")})
    assert expected("default-length", old, (stated(),))
    assert not expected("default-length", new, (stated(),))
    assert not expected("pad-token", old, (stated(),))
    assert not expected("default-length", old, (stated(target="another"),))
    assert expected("default-length", old, (stated(target="embedded", device="cpu"),))
    assert not expected("default-length", old, (stated(device="cuda"),))
    assert not expected("default-length", old, (stated(package="torch"),))
    assert expected("default-length", a_record("4.46.0rc1", {}), (stated(),))


def test_a_file_that_states_no_versions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    fields = stated().model_dump(mode="json", exclude_none=True) | {"versions": "before 5"}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
    file.write_text(f"[[expected]]\n{lines}\n", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        expectations(file)
    assert str(refused.value) == (
        f"{file}: expected.0.versions: Value error, 'before 5' names no versions: write such as "
        "'<4.47'"
    )


@pytest.mark.parametrize(
    ("verdict", "is_stated", "flipped", "found"),
    [
        (HOLDS, False, False, None),
        (NOT_APPLICABLE, False, False, None),
        (FAILS, False, False, Surprise.BAD),
        (ERROR, False, False, Surprise.BAD),
        (None, False, False, Surprise.BAD),
        (HOLDS, False, True, Surprise.FLIPPED),
        (NOT_APPLICABLE, False, True, Surprise.FLIPPED),
        (FAILS, True, False, None),
        (FAILS, True, True, None),
        (HOLDS, True, False, Surprise.NOT_AS_EXPECTED),
        (NOT_APPLICABLE, True, False, Surprise.NOT_AS_EXPECTED),
        (None, True, False, Surprise.NOT_AS_EXPECTED),
    ],
)
def test_what_is_a_surprise(
    verdict: Verdict | None, is_stated: bool, flipped: bool, found: Surprise | None
) -> None:
    assert surprise(verdict, stated() if is_stated else None, flipped) is found


# --- the table -----------------------------------------------------------------------------------


def test_a_flip_is_marked_and_one_that_is_stated_is_no_surprise() -> None:
    found = table(
        {
            "4.46.3": {"default-length": (FAILS, "14, not 20"), "pad-token": HOLDS},
            "4.57.6": {"default-length": HOLDS, "pad-token": HOLDS},
            "5.0.0": {"default-length": HOLDS, "pad-token": HOLDS},
        },
        (stated(),),
    )
    assert said(found) == {
        "default-length": ["fails, expected", "holds, flip", "holds"],
        "pad-token": ["holds", "holds", "holds"],
    }
    assert found.green
    assert found.flips == 1
    assert words.others(found.rows) == "the same in every column: 1 claim holds"
    assert words.reasons(found) == ["default-length: fails with transformers 4.46.3: 14, not 20"]


def test_an_unexpected_pass_is_as_red_as_an_unexpected_failure() -> None:
    found = table(
        {
            "4.46.3": {"default-length": HOLDS, "pad-token": FAILS},
            "5.0.0": {"default-length": HOLDS, "pad-token": HOLDS},
        },
        (stated(),),
    )
    assert said(found) == {
        "default-length": ["holds, not as expected", "holds"],
        "pad-token": ["fails, unexpected", "holds, unexpected flip"],
    }
    assert not found.green
    assert len(found.surprises) == 3


def test_a_column_that_did_not_run_is_passed_over_by_the_next() -> None:
    first, broken, last = cells("4.46.3", "9.9.9", "5.0.0")
    del first, last
    found = table(
        {
            "4.46.3": {"pad-token": HOLDS},
            "9.9.9": outcome(broken, End.NOT_INSTALLED, "there is no version", run=None),
            "5.0.0": {"pad-token": NOT_APPLICABLE},
        }
    )
    assert said(found) == {"pad-token": ["holds", words.ABSENT, "not applicable, unexpected flip"]}
    assert [column.label for column in found.failed] == ["transformers 9.9.9"]
    assert words.headline([found]) == (
        "1 run did not come to the end; 1 unexpected verdict; 1 flip from one column to the next."
    )


def test_an_undecided_claim_neither_flips_nor_hides_what_was_before() -> None:
    stopped = a_record("5.0.0", {"pad-token": (HOLDS, "")})
    claims = (stopped.claims[0].model_copy(update={"verdict": None}),)
    records = {
        "a": a_record("4.46.3", {"pad-token": (HOLDS, "")}),
        "b": stopped.model_copy(update={"claims": claims}),
        "c": a_record("5.1.0", {"pad-token": (HOLDS, "")}),
    }
    outcomes = [
        outcome(cell, run=run)
        for cell, run in zip(cells("4.46.3", "5.0.0", "5.1.0"), records, strict=True)
    ]
    (found,) = tables(outcomes, records.get, ())
    assert said(found) == {"pad-token": ["holds", "undecided, unexpected", "holds"]}


def test_tables_of_nothing_are_none() -> None:
    assert tables([], lambda _: None) == ()


# --- what is shown -------------------------------------------------------------------------------


@pytest.fixture
def mixed() -> Table:
    _, broken, _ = cells("4.46.3", "9.9.9", "5.0.0")
    return table(
        {
            "4.46.3": {"default-length": (FAILS, "14, not 20"), "pad-token": HOLDS},
            "9.9.9": outcome(broken, End.NOT_INSTALLED, f"no version {HOSTILE}", run=None),
            "5.0.0": {"default-length": (FAILS, HOSTILE), "pad-token": HOLDS},
        },
        (stated(),),
    )


def test_the_terminal_shows_a_table_and_why(mixed: Table) -> None:
    text = terminal.shown([mixed], width=120)
    (row,) = [line for line in text.splitlines() if line.startswith("│ default-length")]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "default-length",
        "fails, expected",
        "·",
        "fails, unexpected",
    ]
    assert "pad-token" not in text
    assert "default-length: fails with transformers 4.46.3: 14, not 20" in text
    assert (
        "transformers 4.46.3: environment 1.38 GB, large files downloaded: 200.0 MB, made in "
        "8.0 s; claims decided in 1 min 1 s"
    ) in text
    assert "\x1b" not in text
    assert "pad-token" in terminal.shown([mixed], width=120, whole=True)


def test_the_page_says_verdicts_in_words_and_escapes_every_text(
    mixed: Table, tmp_path: Path
) -> None:
    (tmp_path / "4.46.3").mkdir()
    (tmp_path / "4.46.3" / "report.html").touch()
    html = render_matrix([mixed], tmp_path, tmp_path / "pages" / "matrix.html")
    assert "<img src=x" not in html
    assert "</script></style>" not in html
    assert 'href="../4.46.3/report.html"' in html
    assert "5.0.0/report.html" not in html
    english, japanese = Page(html).text, Page(html, "ja").text
    for word in ("not installed", "fails expected", "fails unexpected", "14, not 20"):
        assert word in english
    for word in ("インストール不可", "不成立 予想どおり", "不成立 予想外"):
        assert word in japanese
    assert "script-src 'sha256-" in html


def test_the_summary_says_what_was_found_and_what_was_expected(mixed: Table) -> None:
    text = markdown.summary([mixed], "matrix.html")
    assert text.startswith(
        "## 1 run did not come to the end; 1 unexpected verdict; 0 flips from one column to the "
        "next.\n\n### embedded\n\n"
        "| claim | transformers 4.46.3 | transformers 9.9.9 | transformers 5.0.0 |\n"
        "| --- | --- | --- | --- |\n"
        "| `default-length` | fails, expected | · | fails, unexpected |\n"
    )
    assert "The same in every column: 1 claim holds." in text
    assert (
        "- transformers \\<4.47: fails: The prompt was counted. (measured): default-length\n"
    ) in text
    assert re.search(r"(?<!\\)<", text) is None
    assert text.endswith("Page: matrix.html\n")


def test_the_page_of_releases_says_what_made_it_and_with_what() -> None:
    found = table({"4.46.3": {"pad-token": HOLDS}, "5.0.0": {"pad-token": HOLDS}})
    text = markdown.page([found], "probes matrix --with transformers==4.46.3,5.0.0")
    assert "$ probes matrix --with transformers==4.46.3,5.0.0\n" in text
    assert "Decided with torch 2.13.0, Python 3.11, Linux x86_64, on a CPU." in text
    assert "## embedded" in text


# --- environments --------------------------------------------------------------------------------


def test_an_environment_has_another_place_for_whatever_is_in_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("one", encoding="utf-8")
    one, two = cells("4.46.3", "5.0.0")
    places = [
        place(one, project, Sources(), tmp_path),
        place(two, project, Sources(), tmp_path),
        place(one, project, Sources(index_url="https://a/"), tmp_path),
    ]
    (project / "pyproject.toml").write_text("two", encoding="utf-8")
    places.append(place(one, project, Sources(), tmp_path))
    assert len(set(places)) == 4
    assert all(each.parent == tmp_path for each in places)


def test_environments_lie_in_the_users_cache() -> None:
    folder = default_folder({"XDG_CACHE_HOME": "/a-cache", "LOCALAPPDATA": "/a-cache"})
    assert folder.parts[-2:] == ("probes", "environments")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because a==9 is not\n"
            "      there, no.\n\nhint: try b\n",
            "Because a==9 is not there, no.",
        ),
        ("warning: x\nerror: cannot reach https://me:pw@a.example/s\n",
         "cannot reach https://a.example/s"),
        ("odd", "odd"),
        ("", ""),
        ("error: " + "x" * 400, "x" * 299 + "…"),
    ],
)  # fmt: skip
def test_the_relevant_line_of_uv(text: str, line: str) -> None:
    assert relevant(text) == line


def test_what_is_downloaded_is_added_up() -> None:
    said = (
        "Resolved 2 packages\nDownloading torch (1.0GiB)\nDownloading x y (3.0KiB)\n Downloaded x"
    )
    assert announced(said) == 2**30 + 3 * 2**10


def test_where_uv_is_missing_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as refused:
        find_uv()
    assert str(refused.value) == (
        "environments are made by uv, which is not installed: python -m pip install -e '.[upgrade]'"
    )


def test_where_pypi_simple_is_missing_a_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypi_simple", None)
    with pytest.raises(UserError) as refused:
        listed("https://a.example/", "a")
    assert str(refused.value) == (
        "which releases there are is asked by pypi-simple: python -m pip install -e '.[upgrade]'"
    )


def test_where_the_claims_are_not_a_line_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        project_folder((tmp_path,))
    assert str(refused.value) == (
        "the tests that decide the claims (tests/claims) are not installed with the package: run "
        "this in a clone of its repository, or in its unpacked source archive"
    )
    assert (project_folder() / "tests" / "claims").is_dir()


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "found"),
    [
        (0, "", (End.RAN, "")),
        (1, "", (End.RAN, "")),
        (5, "", (End.RAN, "")),
        (4, "x\nERROR: no target 'y'\n\n", (End.REFUSED, "no target 'y'")),
        (2, "a\nb\n", (End.CRASHED, "exit code 2: b")),
        (3, "INTERNALERROR> ValueError: c\nd", (End.CRASHED, "exit code 3: ValueError: c")),
        (1 << 8, "", (End.CRASHED, "exit code 256")),
        (-9, "", (End.CRASHED, "it was ended by SIGKILL")),
        (-250, "", (End.CRASHED, "it was ended by signal 250")),
        (None, "", (End.TIMED_OUT, "it did not end within 2 minutes")),
    ],
)
def test_how_a_run_ended(code: int | None, text: str, found: tuple[End, str]) -> None:
    assert ending(code, text, 120.0) == found


def test_the_command_of_a_run() -> None:
    asked = Asked(targets=("a",), claims=("x", "y"), targets_file="t.toml")
    assert " ".join(command(Path("python"), asked, "a", Path("out"))) == (
        "python -m pytest tests/claims --target a --report-dir out -p no:cacheprovider -q "
        "--tb=no --targets-file t.toml --claim x --claim y"
    )


def job(tmp_path: Path) -> Job:
    return Job(
        cell=cells("5.0.0")[0],
        asked=ASKED,
        project=tmp_path,
        environments=tmp_path / "environments",
        report_dir=tmp_path / "reports",
    )


def test_a_run_sees_nothing_that_concerns_the_caller_alone(tmp_path: Path) -> None:
    inherited = {"PATH": "p", "PYTHONPATH": "x", "PYTEST_ADDOPTS": "-x", "VIRTUAL_ENV": "v"}
    with_threads = job(tmp_path).model_copy(update={"variables": {"OMP_NUM_THREADS": "1"}})
    assert environ(with_threads, inherited) == {
        "PATH": "p",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("stopped", [False, True], ids=["ended", "stopped"])
def test_no_secret_stays_in_what_pytest_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setenv("HUB_TOKEN", "planted-credential-0123")

    def run(words: list[str], output: int) -> int:
        os.write(output, b"ERROR: 401 for planted-credential-0123\n")
        if stopped:
            raise StoppedError
        return 4

    (folder := tmp_path / "reports" / "cell").mkdir(parents=True)
    with pytest.raises(StoppedError) if stopped else nullcontext():
        found = attempt(job(tmp_path), folder, Path("python"), 1, "embedded", run)
        assert (found.end, found.reason) == (End.REFUSED, "401 for <secret>")
    (log,) = folder.iterdir()
    assert log.read_text(encoding="utf-8") == "ERROR: 401 for <secret>\n"


def test_cells_share_the_cores_unless_the_user_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert pool.shared(job(tmp_path), 1).variables == {}
    assert pool.shared(job(tmp_path), 4).variables == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert pool.shared(job(tmp_path), 4).variables == {}


def test_as_many_cells_at_once_as_memory_and_cores_allow() -> None:
    gib = 2**30
    assert pool.jobs_that_fit(cells=3, cores=64, available=100 * gib) == 3
    assert pool.jobs_that_fit(cells=9, cores=4, available=100 * gib) == 2
    assert pool.jobs_that_fit(cells=9, cores=64, available=7 * gib) == 2
    assert pool.jobs_that_fit(cells=0, cores=1, available=0) == 1
    assert pool.jobs_here(1) == 1


def test_many_cells_are_decided_and_each_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(each: Job, tell: Callable[[str], None], *more: object) -> Outcome:
        assert len(more) == 2
        tell("installing")
        return outcome(each.cell)

    monkeypatch.setattr("probes.upgrade.run.decide", decide)
    jobs = [job(tmp_path).model_copy(update={"cell": cell}) for cell in cells("1", "2", "3")]
    told: list[str] = []

    def tell(each: Job, stage: str) -> None:
        told.append(f"{each.cell.name} {stage}")

    found = {each.cell.name: result.cell.name for each, result in pool.run(jobs, 2, tell)}
    assert found == {each.cell.name: each.cell.name for each in jobs}
    assert sorted(told) == sorted(f"{name} installing" for name in found)


def test_what_was_decided_before_is_taken_only_if_all_of_it_is_there(tmp_path: Path) -> None:
    asked = job(tmp_path)
    folder = asked.report_dir / asked.cell.name
    run = f"{asked.cell.name}/embedded/20261123T075120Z"
    (asked.report_dir / run).mkdir(parents=True)
    assert decided_before(asked) is None
    result = outcome(asked.cell, run=run)
    (folder / "cell.json").write_text(result.model_dump_json(), encoding="utf-8")
    assert decided_before(asked) is None
    (asked.report_dir / run / "record.json").touch()
    assert decided_before(asked) == result
    other = asked.model_copy(update={"asked": Asked(targets=("embedded",), claims=("x",))})
    assert decided_before(other) is None
    added = asked.model_copy(update={"asked": Asked(targets=("embedded", "another"))})
    assert decided_before(added) is None
    assert attempts_before(added, result) == {"embedded": result.attempts[0]}
    broken = outcome(asked.cell, End.CRASHED, run=run)
    (folder / "cell.json").write_text(broken.model_dump_json(), encoding="utf-8")
    assert decided_before(asked) is None


def test_a_folder_is_asked_for_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert in_full("model") == str(tmp_path / "model")
    assert in_full("embedded") == "embedded"
