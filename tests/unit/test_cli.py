from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from probes import UserError, __version__, read_record
from probes.report.files import write_report
from probes.results.journal import Journal
from probes.schema.record import build_json_schema
from tests.support.command import run
from tests.support.samples import FINISHED, check, header, record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    path.write_text(record().model_dump_json(), encoding="utf-8")
    return path


def test_report_is_written_beside_the_record(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", stored) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{stored.with_name('report.html')}\n", "")
    assert "All 2 claims hold." in stored.with_name("report.html").read_text(encoding="utf-8")


def test_report_writes_output_and_summary(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    assert run("report", stored.parent, "--output", page, "--summary", summary) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.is_file()
    assert not stored.with_name("report.html").exists()
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("## embedded: All 2 claims hold.\n")
    assert text.endswith("page.html\n")


def test_report_of_stopped_run_is_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Journal.begin(tmp_path, header())
    whole.finish(FINISHED, write_report)
    journal = Journal.begin(tmp_path, header())
    journal.write_check("bos-inserted", check())
    assert run("report", tmp_path / "embedded") == 0
    page = journal.folder / "report.html"
    out, err = capsys.readouterr()
    assert out == f"{page}\n"
    assert err == ("probes: Incomplete: the run did not reach its end. 1 of 2 checks were made.\n")
    assert "Incomplete: the run did not reach its end." in page.read_text(encoding="utf-8")
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f"{journal.folder.name}/report.html" in index


def test_unusable_input_exits_2_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nothing"
    assert run("report", path) == 2
    assert capsys.readouterr().err == (
        f"probes: no record at '{path}': name a record.json, a run's folder or a target's folder\n"
    )


@pytest.mark.parametrize(("what", "option"), [("report", "--output"), ("summary", "--summary")])
def test_unwritable_file_exits_2_with_one_line(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, option: str
) -> None:
    file = tmp_path / "missing" / "file"
    assert run("report", stored, option, file) == 2
    assert capsys.readouterr().err == (
        f"probes: the {what} cannot be written to '{file}': No such file or directory; "
        f"name another file with {option}\n"
    )


def test_unknown_verb_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("reprot") == 2
    assert "No such command 'reprot'" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"probes {__version__}\n"


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    out = capsys.readouterr().out
    assert json.loads(out) == json.loads(json.dumps(build_json_schema()))


def test_help_describes_every_verb_in_a_whole_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--help") == 0
    _, _, verbs = capsys.readouterr().out.partition("Commands:\n")
    assert (
        verbs
        == """\
  run      Decide the claims on a target; write a record and a report.
  report   Write the HTML report of a run again.
  compare  Say what changed between two runs.
  matrix   Decide the claims under many versions of libraries.
  bisect   Find the release of a package that changed a verdict.
  schema   Print the JSON schema of record.json.
  claims   Print the built-in claims: id and statement, by section.
"""
    )


def test_command_line_imports_no_torch_or_pytest(stored: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'pytest', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "from probes.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "report", str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_probes_is_the_command() -> None:
    command = [sys.executable, "-m", "probes", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"probes {__version__}\n"


# --- a newcomer's way ----------------------------------------------------------------------------


def run_cold(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `probes` in a process of its own, in an empty folder."""
    command = [sys.executable, "-m", "probes", *arguments]
    environ = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--quantisation", "ERROR: no option '--quantisation'; did you mean '--quantization'? "),
        ("--foo=1", "ERROR: no option '--foo': "),
    ],
)
def test_run_refuses_unknown_option_in_one_line(tmp_path: Path, option: str, line: str) -> None:
    done = run_cold(tmp_path, "run", "embedded", option)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.splitlines() == [f"{line}pytest --help lists all options", ""]
    assert not done.stdout


@pytest.mark.parametrize("option", ["-n2", "--dist=load"])
def test_run_names_the_package_of_workers_options(tmp_path: Path, option: str) -> None:
    done = run_cold(tmp_path, "run", "-p", "no:xdist", option)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    line = f"ERROR: {option.partition('=')[0]} needs the package pytest-xdist, which is not"
    assert done.stderr.startswith(line)


def test_run_without_target_says_what_comes_next(tmp_path: Path) -> None:
    done = run_cold(tmp_path, "run", "--claim", "vocab-size", "--no-report")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "no target is named: the claims are decided on the tiny model of this package" in lines
    assert lines[-2].startswith("next, your own: probes run path/to/folder")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("run --claim bos", ["bos-inserted", "bos-changes-text", "bos-recorded"]),
        ("run --claim-", ["--claim-budget"]),
        ("run emb", ["embedded"]),
        ("mat", ["matrix"]),
    ],
)
def test_shell_completes_words(tmp_path: Path, words: str, offered: list[str]) -> None:
    done = run_cold(
        tmp_path,
        _PROBES_COMPLETE="complete_bash",
        COMP_WORDS=f"probes {words}",
        COMP_CWORD=str(len(words.split())),
    )
    assert done.stdout.split() == offered


def test_record_is_read_from_a_path_as_text(stored: Path) -> None:
    assert read_record(str(stored)) == read_record(stored)
    with pytest.raises(UserError, match=r"no record at 'nowhere': name a record\.json"):
        read_record("nowhere")
