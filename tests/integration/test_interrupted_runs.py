from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from probes.results.reading import read
from tests.support.command import run
from tests.support.project import Project
from tests.support.warm_process import ModuleProcess

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent")

CHECKS = 60

# Each check is reported before the next begins: a check that has begun vouches for those before.
SLOW = f"""
import time

@pytest.mark.claim("slow", title="It takes its time.")
@pytest.mark.parametrize("number", range({CHECKS}))
def test_slow(model, evidence, number):
    with open("begun", "a") as file:
        file.write(f"{{number}}\\n")
    evidence["number"] = number
    time.sleep(0.005)
"""


def start(project: Project, *arguments: str) -> ModuleProcess:
    options = ["-q", "-p", "no:cacheprovider", *arguments]
    return ModuleProcess("pytest", project.folder, options, project.folder / "output")


def begun(folder: Path) -> list[int]:
    """The checks that have begun, in order; the last may be half written."""
    file = folder / "begun"
    return [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def wait_for(project: Project, check: int, process: ModuleProcess) -> None:
    deadline = time.monotonic() + 120
    while check not in begun(project.folder):
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.003)


@pytest.mark.parametrize("seed", range(3))
def test_killed_run_loses_no_verdict(
    project: Project, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    project.test_file(SLOW)
    draw = random.Random(seed)
    process = start(project)
    wait_for(project, draw.randrange(1, CHECKS // 2), process)
    time.sleep(draw.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=120)
    *reached, _ = begun(project.folder)
    record = read(project.folder / "reports" / "embedded")
    (claim,) = record.claims
    kept = [check.values["number"] for check in claim.evidence]
    assert kept[: len(reached)] == reached
    assert len(kept) <= len(reached) + 1
    assert (record.complete, record.finished, claim.verdict) == (False, None, None)
    assert run("report", project.folder / "reports" / "embedded") == 0
    printed = capsys.readouterr()
    assert "incomplete" in Path(printed.out.strip()).read_text(encoding="utf-8").lower()
    assert printed.err.startswith("probes: ")
    assert printed.err.count("\n") == 1


def test_next_runs_leave_what_ended_early(project: Project) -> None:
    project.test_file(SLOW)
    for number in (signal.SIGINT, signal.SIGKILL):
        process = start(project)
        wait_for(project, 5, process)
        process.send_signal(number)
        process.wait(timeout=120)
        (project.folder / "begun").unlink()
    folder = project.folder / "reports" / "embedded"
    before = {file: file.read_bytes() for file in folder.glob("*/*")}
    ended = [*folder.iterdir()]
    assert len(ended) == 2

    both = [start(project), start(project)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert {file: file.read_bytes() for each in ended for file in each.iterdir()} == before
    records = project.records()
    assert sorted(record["complete"] for record in records) == [False, True, True]
    for record in records:
        numbers = [check["values"]["number"] for check in record["claims"][0]["evidence"]]
        assert numbers == list(range(len(numbers)))
    listed = (project.folder / "reports" / "index.html").read_text(encoding="utf-8")
    pages = [*folder.glob("*/report.html")]
    assert len(pages) == 3
    assert all(f"embedded/{page.parent.name}/report.html" in listed for page in pages)


def output_lines(project: Project) -> list[str]:
    return (project.folder / "output").read_text(encoding="utf-8").splitlines()


STOPPED = "stopped by {}: what was decided before is kept; run it again for the rest"

ENDS = {signal.SIGINT: (2, "an interruption"), signal.SIGTERM: (143, "SIGTERM")}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("number", ENDS)
def test_signal_at_any_moment_keeps_verdicts(
    project: Project, number: signal.Signals, seed: int
) -> None:
    project.test_file(SLOW)
    draw = random.Random(f"{number} {seed}")
    process = start(project)
    wait_for(project, draw.randrange(1, CHECKS // 2), process)
    time.sleep(draw.uniform(0, 0.02))
    process.send_signal(number)
    code, by = ENDS[number]
    assert process.wait(timeout=120) == code
    *reached, _ = begun(project.folder)
    record = project.record()
    kept = [check["values"]["number"] for check in record["claims"][0]["evidence"]]
    assert kept[: len(reached)] == reached
    assert len(kept) <= len(reached) + 1
    assert (record["complete"], record["claims"][0]["verdict"]) == (False, None)
    (folder,) = (project.folder / "reports" / "embedded").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "report.html"]
    assert output_lines(project).count(STOPPED.format(by)) == 1
    assert not [line for line in output_lines(project) if "Traceback" in line]


@pytest.mark.parametrize("number", ENDS)
def test_signal_during_shutdown_keeps_whole_record(
    project: Project, number: signal.Signals
) -> None:
    project.test_file(SLOW)
    process = start(project)
    wait_for(project, CHECKS - 1, process)
    while process.poll() is None:  # from the last check on, through all that is written
        process.send_signal(number)
        number = signal.SIGTERM  # Ctrl-C once: a second is obeyed at once
        time.sleep(0.002)
    assert "Traceback" not in "\n".join(output_lines(project))
    assert len(project.claims()["slow"]["evidence"]) >= CHECKS - 1
    (folder,) = (project.folder / "reports" / "embedded").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "report.html"]


IGNORES = """
@pytest.mark.claim("deaf", title="It catches all there is.")
@pytest.mark.parametrize("number", range(3))
def test_deaf(model, number):
    import os, signal
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
"""


def test_caught_interrupt_ends_the_run(project: Project) -> None:
    project.test_file(IGNORES)
    assert start(project).wait(timeout=120) == 143
    assert [check["verdict"] for check in project.record()["claims"][0]["evidence"]] == ["holds"]


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGKILL, False)],
    ids=["SIGTERM", "SIGTERM to its workers too", "SIGKILL"],
)
def test_ended_workers_keep_verdicts_and_leave_no_process(
    project: Project, number: signal.Signals, group: bool
) -> None:
    pytest.importorskip("xdist")
    project.test_file(SLOW)
    # Other plugins warn of workers that reported nothing, and a user may make warnings errors.
    # The process starts with a library imported that a plugin of pytest belongs to.
    rewriting = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    (project.folder / "pytest.ini").write_text(
        f"[pytest]\nfilterwarnings =\n    error\n    {rewriting}\n"
    )
    process = start(project, "-n2")  # workers that nothing but their own run ends
    while len(begun(project.folder)) < 20:
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.003)
    os.killpg(process.pid, number) if group else process.send_signal(number)
    code = process.wait(timeout=120)
    assert code == (143 if number is signal.SIGTERM else -signal.SIGKILL)
    record = read(project.folder / "reports" / "embedded")
    assert not record.complete
    assert len(record.claims[0].evidence) >= 10
    assert {check.verdict.value for check in record.claims[0].evidence} == {"holds"}
    assert not [line for line in output_lines(project) if "Traceback" in line]
    deadline = time.monotonic() + 60
    while _lives(process.pid):
        assert time.monotonic() < deadline, "a worker outlives its run"
        time.sleep(0.1)


# The run is asked to end where an interrupt has to wait, and its worker is dead by then.
ASKED_AS_ITS_WORKER_DIES = """
import os, signal, sys

import pytest

@pytest.hookimpl(tryfirst=True, optionalhook=True)
def {hook}:
    in_pluggy = sys._getframe(1)
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, in_pluggy)

def pytest_runtest_call(item):
    if item.callspec.params["number"] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("hook", ["pytest_testnodedown(node)", "pytest_handlecrashitem(crashitem)"])
def test_worker_killed_by_shutdown_is_no_error(project: Project, hook: str) -> None:
    pytest.importorskip("xdist")
    project.test_file(SLOW)
    (project.folder / "conftest.py").write_text(ASKED_AS_ITS_WORKER_DIES.format(hook=hook))
    assert start(project, "-n", "1").wait(timeout=120) == 143
    record = read(project.folder / "reports" / "embedded")
    numbers = [check.values["number"] for check in record.claims[0].evidence]
    assert numbers == list(range(7))
    assert {check.verdict.value for check in record.claims[0].evidence} == {"holds"}
    assert not [line for line in output_lines(project) if "Traceback" in line]


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
