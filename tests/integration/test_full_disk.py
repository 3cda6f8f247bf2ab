"""A full disk ends a run with one line and exit 4; what was decided before is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a limit on files is set")

# The system itself refuses to let a file grow, as a full disk does: no call is replaced.
LIMITED = """
import resource, sys

sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""

LONG = """
@pytest.mark.claim("long", title="Its evidence takes room.")
@pytest.mark.parametrize("number", range(20))
def test_long(model, evidence, number):
    evidence["text"] = "x" * 1000
"""


def refusal(done: pytest.RunResult) -> str:
    """The one line that a run ended with."""
    assert done.ret == pytest.ExitCode.USAGE_ERROR, done.stdout.str() + done.stderr.str()
    assert "Traceback" not in done.stdout.str() + done.stderr.str()
    (line,) = [line for line in done.outlines if line.startswith("ERROR: ")]
    return line


@pytest.mark.parametrize(
    ("limit", "least", "most"),
    [(10_000, 4, 9), (27_000, 20, 20)],
    ids=["under a check", "under the record"],
)
def test_full_disk_ends_the_run_and_keeps_verdicts(
    project: Project, limit: int, least: int, most: int
) -> None:
    from probes.results.reading import read

    project.test_file(LONG)
    (project.folder / "limited.py").write_text(LIMITED.format(limit), encoding="utf-8")
    line = refusal(project.run_apart("-q", "-p", "limited"))
    (folder,) = (project.folder / "reports" / "embedded").iterdir()
    assert line == (
        f"ERROR: the run cannot be written to '{folder}': File too large; what was decided before "
        "is kept in journal.jsonl there: make room, then 'probes report' on that folder shows it"
    )
    left = {path.name for path in folder.iterdir()}
    assert "journal.jsonl" in left
    assert left <= {"journal.jsonl", "record.json"}  # of the record and the report, what is whole
    assert least <= len(read(folder).claims[0].evidence) <= most


GONE = """
import shutil

@pytest.mark.claim("gone", title="Somebody tidies up meanwhile.")
@pytest.mark.parametrize("number", range(3))
def test_gone(model, number):
    if number == 1:
        shutil.rmtree("reports")
"""


def test_vanished_report_folder_ends_the_run(warm_project: Project) -> None:
    warm_project.test_file(GONE)
    assert refusal(warm_project.run()).endswith("journal.jsonl is missing or not a regular file")


LAST_GONE = """
import shutil

@pytest.mark.claim("gone", title="Somebody tidies up meanwhile.")
def test_gone(model):
    if model.target.name == "second":
        shutil.rmtree("reports/second")
"""


def test_runs_are_listed_though_the_last_cannot_be_written(
    warm_project: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    warm_project.test_file(LAST_GONE)
    second = copy_of_embedded("second")
    assert refusal(warm_project.run("--target", "embedded", "--target", str(second)))
    listed = (warm_project.folder / "reports" / "index.html").read_text(encoding="utf-8")
    assert listed.count("/report.html") == 1
