"""A record made to do harm: `probes report` and `probes compare` show it as text or refuse it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from probes.plugin.summary import format_run
from probes.report.text.markdown import summarize_run
from probes.schema.record import Record, Verdict
from tests.support.command import run
from tests.support.kept_prompts import prompt
from tests.support.page_reader import Page
from tests.support.samples import mixed, rates

PLAIN = Path(__file__).parents[1] / "frozen" / "format-3-old.json"
HOSTILE = (
    "</script></style><img src=x onerror=alert(1)><svg onload='alert(1)'>"
    "<a href='javascript:alert(1)'>[red]x[/x] {{ 7 * 7 }}\" ' & javascript:alert(1) "
    "\x00\x07\x1b[2J\x1b]0;taken\x07\x9b31m\r\u202ereversed\u2066\u200b\ufeff\ud800 end"
)
RAW = set("\0\x07\x1b\x9b\r\u202e\u2066\u200b\ufeff\ud800")
"""What must reach neither a page nor a terminal as it is."""


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line in which a command refuses its input, without the command's name."""
    capsys.readouterr()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert not RAW & set(err)
    assert len(err) < 600
    return err.removeprefix("probes: ").rstrip("\n")


def refused_by_both(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    """The line that both commands refuse a file with; compare reads it as either run."""
    lines = {
        refusal(capsys, "report", path),
        refusal(capsys, "compare", path, PLAIN),
        refusal(capsys, "compare", PLAIN, path),
    }
    (line,) = lines
    return line


# --- what is no record ---------------------------------------------------------------------------


def data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(PLAIN.read_text(encoding="utf-8"))
    return loaded


def replaced(whole: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with one value replaced, or added."""
    if not path:
        return value
    copied = whole.copy()
    inner = whole[path[0]] if len(path) > 1 else None
    copied[path[0]] = replaced(inner, path[1:], value)
    return copied


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema_version",), "\x1b[2J", r"its schema_version is '\x1b[2J'"),
        (("claims",), {"a": 1}, "claims should be a valid "),
        (("claims", 0, "verdict"), "great", "claims.verdict 'great' should be"),
        (("environment", "packages"), [HOSTILE], "environment.packages "),
        (("claims", 0, "\x1b[2J\u202e"), 1, "Extra inputs are not permitted"),
        (("target", "x" * 10**6), 1, "Extra inputs are not permitted"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_value_of_another_type_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: tuple[str | int, ...],
    value: Any,
    words: str,
) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(replaced(data(), path, value)), encoding="utf-8")
    line = refused_by_both(capsys, file)
    assert line.startswith(f"'{file}' is not the record of a run: ")
    assert words in line


def test_journal_of_another_version_is_refused_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "journal.jsonl"
    line = json.dumps({"schema_version": 1, "suite": HOSTILE})
    file.write_text(f"{line}\n", encoding="utf-8")
    assert "is a stopped run of an older version" in refused_by_both(capsys, file)


def test_file_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    with file.open("wb") as stream:
        stream.write(b'{"schema_version": 2, "suite": "')
        stream.truncate(2**30)
    limited = (
        "import resource, runpy, sys; "
        "resource.setrlimit(resource.RLIMIT_AS, (900 * 2**20, 900 * 2**20)); "
        "sys.argv[0] = 'probes'; runpy.run_module('probes', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "report", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"probes: {file} has 1,073,741,824 bytes, more than the 67,108,864 that such a file may "
        "have\n"
    )


# --- what is one, and means harm -----------------------------------------------------------------


def sample() -> dict[str, Any]:
    """A run with every verdict, evidence of every shape, kept logits and throughput."""
    whole: dict[str, Any] = json.loads(
        mixed().model_copy(update={"throughput": rates()}).model_dump_json()
    )
    kept = {"kept_prompts": [prompt("P"), prompt("Q")], "noise": 1e-5, "tolerance": 0.01}
    whole["claims"][2]["evidence"][0]["values"] = kept
    return whole


def strings(part: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all texts in nested lists and dictionaries."""
    if isinstance(part, str):
        yield path
    items = (
        part.items()
        if isinstance(part, dict)
        else enumerate(part)
        if isinstance(part, list)
        else ()
    )
    for key, value in items:
        yield from strings(value, (*path, key))


def is_record(whole: Any) -> bool:
    try:
        Record.model_validate(whole)
    except ValidationError:
        return False
    return True


def everywhere(whole: dict[str, Any], text: str) -> tuple[dict[str, Any], list[str]]:
    """A record with a text in every place that may hold any, and the names of those places."""
    places = []
    for path in strings(whole):
        hostile = replaced(whole, path, text)
        if is_record(hostile):
            whole = hostile
            places.append(".".join(str(part) for part in path if isinstance(part, str)))
    for number, claim in enumerate(whole["claims"]):
        claim["id"] += str(number)  # two claims of one id are refused
        for evidence in claim["evidence"]:
            evidence["values"] |= {text: {text: text}, "rows": [{text: text}], "list": [text]}
    whole["environment"]["packages"] |= {text: text}
    return whole, places


@pytest.fixture(scope="module")
def hostile() -> dict[str, Any]:
    return everywhere(sample(), HOSTILE)[0]


def test_every_place_for_a_text_is_tried() -> None:
    _, places = everywhere(sample(), HOSTILE)
    names = ("title", "section", "differs", "reason", "evidence.name", "evidence.reason")
    expected = {"suite", "started", "target.name", "environment.platform", "throughput.reason"}
    assert expected | {f"claims.{name}" for name in names} <= {*places}
    assert any(place.startswith("claims.evidence.values.kept_prompts") for place in places)


def stored(folder: Path, name: str, whole: dict[str, Any]) -> Path:
    path = folder / name / "record.json"
    path.parent.mkdir()
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def obeys_nothing(html: str) -> None:
    page = Page(html)
    assert page.tags["img"] == 0
    assert page.tags["style"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    for link in [*page.values("href"), *page.values("src")]:
        assert link.startswith(("#", "data:,", "../", "report.html")), link
    for place in page.values("id"):
        assert re.fullmatch(r"[A-Za-z0-9:_-]+", place), place
    assert not RAW & set(html)


def test_report_shows_hostile_record_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: dict[str, Any]
) -> None:
    path = stored(tmp_path, "run", hostile)
    assert "the records are of two targets" in refusal(capsys, "compare", path, PLAIN)
    text = tmp_path / "summary.md"
    assert run("report", path, "--summary", text) == 0
    said = capsys.readouterr()
    assert not RAW & set(said.out + said.err)
    obeys_nothing(path.with_name("report.html").read_text(encoding="utf-8"))
    assert not RAW & set(text.read_text(encoding="utf-8"))
    assert not re.search(r"(?<!\\)<(?!br>)", text.read_text(encoding="utf-8"))


def test_comparison_shows_hostile_record_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: dict[str, Any]
) -> None:
    other = sample()
    other["claims"][1]["verdict"] = "holds"
    paths = stored(tmp_path, "old", other), stored(tmp_path, "new", hostile)
    page, text, whole = tmp_path / "c.html", tmp_path / "c.md", tmp_path / "c.json"
    outputs: list[str | Path] = ["--html", page, "--summary", text, "--json", whole]
    for two in (paths, paths[::-1], (paths[1], paths[1])):
        assert run("compare", *two, "--across-targets", *outputs) in (0, 1)
        said = capsys.readouterr()
        assert said.out
        assert not RAW & set(said.out + said.err)
        obeys_nothing(page.read_text(encoding="utf-8"))
        assert not RAW & set(text.read_text(encoding="utf-8"))
        assert not re.search(r"(?<!\\)<(?!br>)", text.read_text(encoding="utf-8"))
        assert json.loads(whole.read_text(encoding="utf-8"))["format"] == 1


def test_summary_shows_hostile_record_as_text(hostile: dict[str, Any]) -> None:
    record = Record.model_validate(hostile)
    for width in (40, 100):
        said = format_run(record, width)
        assert not RAW & set(said)
    assert "[red]x[/x]" in format_run(record, 2000)
    assert not RAW & set(summarize_run(record, HOSTILE))


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"-1"], ids=str)
@pytest.mark.parametrize("in_facts", [True, False], ids=["facts", "evidence"])
def test_odd_number_is_shown_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: bytes, in_facts: bool
) -> None:
    whole = sample()
    whole["claims"][1]["evidence"][0]["values"] = {"x": "ODD", "list": ["ODD"], "p_value": "ODD"}
    if in_facts:
        whole["claims"][1]["evidence"][0]["cost"]["seconds"] = "ODD"
        whole["throughput"][0]["per_second"] = "ODD"
    file, page = tmp_path / "record.json", tmp_path / "page.html"
    file.write_bytes(json.dumps(whole).encode().replace(b'"ODD"', number))
    for arguments in (
        ("report", file, "--output", page),
        ("compare", file, PLAIN, "--across-targets", "--html", page),
        ("compare", PLAIN, file, "--across-targets", "--html", page),
    ):
        code = run(*arguments)
        _, err = capsys.readouterr()
        is_refused = err.startswith((f"probes: '{file}'", f"probes: {file}"))
        assert code == 2 if is_refused else code in (0, 1)
        assert err.count("\n") <= 1
        assert "Traceback" not in err


def test_claim_that_is_there_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = data()
    again = {**whole["claims"][0], "verdict": Verdict.FAILS.value}
    whole["claims"].append(again)
    file = tmp_path / "record.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    assert refused_by_both(capsys, file) == (
        f"'{file}' is not the record of a run: it has the claim '{again['id']}' 2 times"
    )
