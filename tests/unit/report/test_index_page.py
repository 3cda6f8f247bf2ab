from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.report.files import INDEX_FILE, refresh_index, write_report
from probes.report.html.history import MOST_RUNS, history
from probes.results.index import Run, list_runs
from probes.results.journal import Journal
from probes.schema.record import Verdict
from tests.support.page_reader import Page
from tests.support.samples import FINISHED, HOSTILE, STARTED, TARGET, check, header


def write_run(
    report_dir: Path, name: str = "embedded", started: str = STARTED, pad_token: str = "f"
) -> Path:
    """A run in which `pad-token` holds (`h`), fails (`f`) or is not decided (`-`)."""
    plan = header(target=TARGET.model_copy(update={"name": name}), started=started)
    if pad_token == "-":
        plan = plan.model_copy(update={"claims": plan.claims[:1]})
    journal = Journal.begin(report_dir, plan)
    journal.write_check("bos-inserted", check())
    if pad_token != "-":
        verdict = {"h": Verdict.HOLDS, "f": Verdict.FAILS}[pad_token]
        journal.write_check("pad-token", check(verdict=verdict, reason="it has one"))
    journal.finish(FINISHED, write_report)
    return journal.folder


def read_index(report_dir: Path) -> Page:
    refresh_index(report_dir)
    return Page((report_dir / INDEX_FILE).read_text(encoding="utf-8"))


def test_index_lists_targets_by_name_and_runs_newest_first(tmp_path: Path) -> None:
    for name, started in {"tiny": STARTED, "embedded": STARTED}.items():
        write_run(tmp_path, name, started)
    write_run(tmp_path, "embedded", "2026-11-24T10:00:00Z")
    page = read_index(tmp_path)
    assert [link for link in page.values("href") if link.endswith(".html")] == [
        "embedded/20261124T100000Z/report.html",
        "embedded/20261123T075120Z/report.html",
        "tiny/20261123T075120Z/report.html",
    ]
    assert page.text.count("1 claim holds, 1 fails") == 3
    assert "transformers 5.23.0" in page.text


def test_index_marks_unreadable_and_stopped_runs(tmp_path: Path) -> None:
    whole = write_run(tmp_path)
    stopped = Journal.begin(tmp_path, header())
    stopped.write_check("bos-inserted", check())
    texts = ("", '{"schema_version": 1, "claims": [', '{"schema_version": 99}', "[" * 100_000)
    for day, text in enumerate((*texts, '{"foreign": true}'), start=1):
        folder = tmp_path / "embedded" / f"2026110{day}T000000Z"
        folder.mkdir()
        (folder / "record.json").write_text(text, encoding="utf-8")
    (tmp_path / "embedded" / "20261106T000000Z").mkdir()
    (tmp_path / "stray.txt").write_text("not a run", encoding="utf-8")
    runs = list_runs(tmp_path)
    assert [(run.readable, run.complete) for run in runs[:2]] == [(True, False), (True, True)]
    assert [run.readable for run in runs[2:]] == [False] * 5
    text = read_index(tmp_path).text
    assert text.count("unreadable") == 5
    assert text.count("incomplete") == 1
    assert "contains no record that this version can read" in text
    assert f"probes report on embedded/{stopped.folder.name} makes one" in text
    assert f"probes report on embedded/{whole.name} " not in text


def test_index_marks_a_closed_target_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path)
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


def test_index_shows_hostile_target_name_as_text(tmp_path: Path) -> None:
    write_run(tmp_path, HOSTILE)
    page = read_index(tmp_path)
    assert (page.tags["img"], page.tags["script"]) == (0, 1)
    assert "</script>" in page.text


def test_index_of_no_runs_says_so(tmp_path: Path) -> None:
    assert read_index(tmp_path).text.endswith("No runs yet.")


# --- history -------------------------------------------------------------------------------------


def write_runs(report_dir: Path, verdicts: str) -> list[Run]:
    for hour, letter in enumerate(verdicts):
        write_run(report_dir, started=f"2026-11-23T{hour:02}:00:00Z", pad_token=letter)
    return list_runs(report_dir)


@pytest.mark.parametrize(
    ("verdicts", "changed"),
    [("hh", "  "), ("hf", " *"), ("hff", " * "), ("h-f", "  *"), ("fhf", " **"), ("-h", "  ")],
)
def test_history_marks_changed_verdicts(tmp_path: Path, verdicts: str, changed: str) -> None:
    past = history(write_runs(tmp_path, verdicts))
    cells = past.rows["pad-token"]
    assert "".join("*" if cell.has_changed else " " for cell in cells) == changed
    assert [cell.is_present for cell in cells] == [letter != "-" for letter in verdicts]
    assert past.changes == ("*" in changed)


def test_history_has_the_last_runs_and_changed_claims_first(tmp_path: Path) -> None:
    past = history(write_runs(tmp_path, "f" * 3 + "h" * (MOST_RUNS - 1) + "f"))
    assert len(past.runs) == MOST_RUNS
    assert past.runs[-1].started > past.runs[0].started
    assert list(past.rows) == ["pad-token", "bos-inserted"]


def test_index_shows_history_as_text_from_two_runs_on(tmp_path: Path) -> None:
    write_runs(tmp_path, "h")
    assert "Claim by claim" not in read_index(tmp_path).text
    write_run(tmp_path, started="2026-11-23T09:00:00Z")
    text = read_index(tmp_path).text
    assert "Claim by claim over the last 2 runs: 1 claim changed its verdict" in text
    assert "pad-token holds fails, changed" in text
