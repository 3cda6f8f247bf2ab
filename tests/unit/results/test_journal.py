from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from probes.errors import UserError
from probes.report.files import write_report
from probes.results.index import list_runs
from probes.results.journal import Journal, check_writable, target_folder_name
from probes.results.reading import read
from probes.schema.record import Rate, Verdict
from tests.support.samples import ENVIRONMENT, FINISHED, LOADED, check, header, planned, rates

UNPRIVILEGED = 65534
"""A user who owns nothing."""


def begun(report_dir: Path, *claims: str) -> Journal:
    return Journal.begin(report_dir, header(*(planned(claim) for claim in claims)))


def test_rates_keep_their_order_and_are_redacted(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for rate in rates():
        journal.write_rate(rate)
    home = Path.home() / "secret"
    journal.write_rate(Rate(what="copy", unit="bytes", reason=f"no room in {home}"))
    stopped = read(journal.folder)
    assert not stopped.complete
    assert stopped.throughput[:-1] == rates()
    assert stopped.throughput[-1].reason == "no room in <home>/secret"
    assert journal.finish(FINISHED, write_report).throughput == stopped.throughput


def test_finish_leaves_record_report_and_index_only(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for claim in ("bos-inserted", "pad-token"):
        journal.write_check(claim, check())
    journal.write_facts(LOADED, ENVIRONMENT)
    finished = journal.finish(FINISHED, write_report)
    assert sorted(path.name for path in journal.folder.iterdir()) == ["record.json", "report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embedded", "index.html"]
    assert finished == read(journal.folder)
    assert finished.complete
    assert finished.finished == FINISHED
    assert finished.target == LOADED


def test_checks_are_sorted_by_place(tmp_path: Path) -> None:
    journal = begun(tmp_path, "round-trip")
    for place in (2, 0, 1, 0):
        journal.write_check("round-trip", check(f"test[{place}]"), place)
    names = [item.name for item in read(journal.folder).claims[0].evidence]
    assert names == ["test[0]", "test[0]", "test[1]", "test[2]"]


@pytest.mark.parametrize("cut", [1, 2, 20, 100])
def test_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    journal = begun(tmp_path)
    journal.write_check("bos-inserted", check())
    journal.write_check("pad-token", check(values={"text": "日本" * 50}))
    path = journal.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [claim.verdict for claim in read(path).claims] == [Verdict.HOLDS, None]


def test_stopped_run_is_read_as_incomplete(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.write_check("bos-inserted", check(verdict=Verdict.FAILS, reason="no BOS"))
    stopped = read(journal.folder)
    assert (stopped.complete, stopped.finished) == (False, None)
    assert [(claim.verdict, claim.reason) for claim in stopped.claims] == [
        (Verdict.FAILS, "no BOS"),
        (None, "stopped after 0 of 1 checks"),
    ]


def run_together(*calls: Callable[[], object]) -> None:
    threads = [Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    journals: list[Journal] = []
    run_together(*[lambda: journals.append(begun(tmp_path))] * 8)
    first = tmp_path / "embedded" / "20261123T075120Z"
    assert {journal.folder for journal in journals} == {
        first,
        *(first.with_name(f"{first.name}-{number}") for number in range(2, 9)),
    }
    run_together(*(partial(journal.finish, FINISHED, write_report) for journal in journals))
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(list_runs(tmp_path)) == 8
    for journal in journals:
        assert f'href="embedded/{journal.folder.name}/report.html"' in index


def test_reader_never_meets_half_a_run(tmp_path: Path) -> None:
    begun(tmp_path).finish(FINISHED, write_report)

    def run() -> None:
        for _ in range(6):
            journal = begun(tmp_path)
            for claim in ("bos-inserted", "pad-token"):
                journal.write_check(claim, check())
            journal.finish(FINISHED, write_report)

    runs = [Thread(target=run) for _ in range(2)]
    for thread in runs:
        thread.start()
    looks = 0
    while any(thread.is_alive() for thread in runs):
        assert read(tmp_path / "embedded").target.name == "embedded"
        assert all(run.readable for run in list_runs(tmp_path) if run.has_report)
        assert "</html>" in (tmp_path / "index.html").read_text(encoding="utf-8")
        looks += 1
    assert looks > 1
    assert len(list_runs(tmp_path)) == 13


def test_full_disk_gives_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begun(tmp_path)
    journal.write_check("bos-inserted", check())
    real_write = os.write

    def half_then_full(handle: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(handle, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(os, "write", half_then_full)
        with pytest.raises(UserError) as refusal:
            journal.write_check("pad-token", check())
    assert str(refusal.value) == (
        f"the run cannot be written to '{journal.folder}': No space left on device; what was "
        "decided before is kept in journal.jsonl there: make room, then 'probes report' on that "
        "folder shows it"
    )
    assert read(journal.folder).claims[0].verdict is Verdict.HOLDS
    journal.write_check("pad-token", check())
    assert journal.finish(FINISHED, write_report).complete


def test_disk_full_at_the_end_leaves_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begun(tmp_path)
    for claim in ("bos-inserted", "pad-token"):
        journal.write_check(claim, check())

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device; what was decided before is kept"):
        journal.finish(FINISHED, write_report)
    assert [path.name for path in journal.folder.iterdir()] == ["journal.jsonl"]
    assert read(journal.folder).complete


@pytest.mark.parametrize("use", [check_writable, begun])
def test_report_folder_that_is_a_file_is_refused(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    occupied = tmp_path / "reports"
    occupied.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        use(occupied)
    message = str(refusal.value)
    assert message.startswith(f"reports cannot be written to '{occupied}': ")
    assert message.endswith(
        "; name another folder with --report-dir, or write none with --no-report"
    )


@contextmanager
def unprivileged_user() -> Iterator[None]:
    """Be a user who owns nothing, if this is root: to root every folder is writable."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="folders are read-only by their mode")
@pytest.mark.parametrize("use", [check_writable, begun])
@pytest.mark.parametrize(
    ("mode", "name"), [(0o555, "."), (0o000, "new")], ids=["read-only", "unsearchable"]
)
def test_report_folder_without_permission_is_refused(
    use: Callable[[Path], object], mode: int, name: str
) -> None:
    with tempfile.TemporaryDirectory() as base:  # pytest's own admits no other user
        Path(base).chmod(0o755)
        folder = Path(base) / "reports"
        folder.mkdir()
        folder.chmod(mode)
        message = r"^reports cannot be written to '.*': Permission denied; "
        with unprivileged_user(), pytest.raises(UserError, match=message):
            use(folder / name)
        folder.chmod(0o755)
        assert not [*folder.iterdir()]


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_any_target_name_makes_a_safe_folder_of_its_own(tmp_path: Path) -> None:
    names = ["", ".", "..", "../../etc", "con", "index.html", "a\0b", "語" * 100]
    names += ["a b", "a-b", "a:b", "a?b", "x" * 99, "x" * 100]
    for name in names:
        folder = tmp_path / target_folder_name(name)
        folder.mkdir()
        assert folder.resolve().parent == tmp_path.resolve()
        assert folder.name not in ("index.html", "con")
