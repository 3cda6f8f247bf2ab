"""What a run says while it goes on: to a terminal that someone watches, and nowhere else."""

from __future__ import annotations

import os
import re
import select
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.support.warm_process import ModuleProcess

pty = pytest.importorskip("pty")

IMPATIENT = """
from probes.plugin import forecast, watch

forecast.MEASURED, watch.SLOW, watch.WORTH_SAYING = 0.0, 0.3, 0.0
"""
CLAIMS = """
import time

@pytest.mark.claim("slow", title="It takes its time.")
@pytest.mark.parametrize("number", [1, 2])
def test_slow(model, number):
    model.generate("The capital", max_new_tokens=3)
    if number == 1:
        time.sleep(0.8)

@pytest.mark.claim("absent", title="It does not apply.", needs=("gpt2-xl",))
def test_absent(model):
    pass
"""
PROGRESS = "slow: slow[1]"
TO_GO = "to go: 1 check on embedded, estimated from this run and "


@pytest.fixture
def slow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("CI", "BUILD_NUMBER", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    project.test_file(CLAIMS)
    project.pytester.makeconftest(IMPATIENT)
    return project


def run_on_terminal(project: Project, *arguments: str) -> str:
    """Run pytest with a terminal as its output, and return what it wrote there."""
    ours, theirs = pty.openpty()
    options = ["-p", "no:cacheprovider", *arguments]
    process = ModuleProcess("pytest", project.folder, options, Path(os.ttyname(theirs)))
    written = b""
    while (ready := select.select([ours], [], [], 0.1)[0]) or process.poll() is None:
        written += os.read(ours, 4096) if ready else b""
    for end in (ours, theirs):
        os.close(end)
    assert process.poll() == 0, written.decode()
    return written.decode()


def test_terminal_shows_slow_check_and_time_to_go(slow: Project) -> None:
    first = run_on_terminal(slow)
    assert re.search(r"\x1b\[2Kslow: slow\[1\] .*3 forward passes", first)
    assert f"about 5 s {TO_GO}what they take on the embedded model" in first
    again = run_on_terminal(slow, "-v")
    assert re.search(r"slow: slow\[1\] .* of about 5 s", again)
    assert f"{TO_GO}the last ones on it" in again


def test_quiet_run_shows_neither(slow: Project) -> None:
    written = run_on_terminal(slow, "--no-report", "-q")
    assert PROGRESS not in written
    assert "to go" not in written


def test_log_of_a_run_holds_no_progress(slow: Project) -> None:
    result = slow.run_apart("--no-report")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*to go*")
    assert PROGRESS not in result.stdout.str()
