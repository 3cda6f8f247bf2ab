"""A claim about the library alone takes no model: one check for the records of all targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project

CLAIMS = """
import time
from pathlib import Path

library = pytest.mark.claim("library", title="The library adds.", needs=())

@library
@pytest.mark.parametrize("number", [1, 2])
def test_adds(evidence, number):
    with Path("ran").open("a") as file:
        file.write(".")
    time.sleep(0.05)
    evidence["sum"] = number + number
    assert evidence["sum"] == 2 * number

@library
def test_model(model):
    assert model.encode("") == [1]
"""

each_way = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "two workers"])


def checks(record: dict[str, Any], claim_id: str) -> dict[str, dict[str, Any]]:
    (claim,) = (claim for claim in record["claims"] if claim["id"] == claim_id)
    return {check["name"]: check for check in claim["evidence"]}


@each_way
def test_library_claim_runs_once_for_all_targets(
    warm_project: Project, copy_of_embedded: Callable[..., Path], workers: tuple[str, ...]
) -> None:
    targets = ("--target", "embedded", "--target", str(copy_of_embedded("other")))
    warm_project.test_file(CLAIMS)
    result = warm_project.run(*targets, *workers)
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    assert (warm_project.folder / "ran").read_text() == ".."
    first, second = (checks(record, "library") for record in warm_project.records())
    assert [*first] == [*second] == ["test_adds[1]", "test_adds[2]", "test_model"]
    for name in ("test_adds[1]", "test_adds[2]"):
        assert first[name]["values"] == second[name]["values"]
        seconds = sorted(each[name]["cost"]["seconds"] for each in (first, second))
        assert seconds[0] == 0
        assert seconds[1] > 0.04


def test_library_claim_alone_is_recorded(project: Project) -> None:
    project.test_file(
        """
@pytest.mark.claim("adds", title="x", needs=())
def test_adds():
    assert 1 + 1 == 3

@pytest.mark.claim("needs", title="x", needs=("gpt2-xl",))
def test_needs():
    pass
"""
    )
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    verdicts = {name: claim["verdict"] for name, claim in project.claims().items()}
    assert verdicts == {"adds": "fails", "needs": "not applicable"}


@pytest.mark.parametrize(
    ("expression", "collected"), [("gpu", True), ("not gpu", True), ("slow", False)]
)
def test_library_claim_follows_the_gpu_marker(
    project: Project, expression: str, collected: bool
) -> None:
    project.test_file(CLAIMS)
    result = project.run("--collect-only", "-q", "-m", expression)
    assert ("test_mine.py::test_adds[1]" in result.outlines) == collected


@each_way
def test_library_claim_is_deselected_when_no_target_is_on_gpu(
    warm_project: Project, workers: tuple[str, ...]
) -> None:
    warm_project.test_file(CLAIMS)
    result = warm_project.run("-m", "gpu", "--target", "embedded", *workers)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_library_claim_survives_a_crashed_worker(
    warm_project: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    pytest.importorskip("xdist")
    warm_project.test_file(
        """
import os

@pytest.mark.claim("dies", title="Its worker dies.", needs=())
def test_dies():
    os._exit(9)
"""
    )
    targets = ("--target", "embedded", "--target", str(copy_of_embedded("other")))
    assert warm_project.run("-n", "1", *targets).ret == pytest.ExitCode.TESTS_FAILED
    found = [checks(record, "dies")["test_dies"]["verdict"] for record in warm_project.records()]
    assert found == ["error", "error"]


def test_claim_without_model_is_refused_when_it_needs_one(project: Project) -> None:
    project.test_file('@pytest.mark.claim("mine", title="It holds.")\ndef test_it():\n    pass\n')
    result = project.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*test_it: it decides a claim but does not take the fixture*"])
