"""Observations: measured everywhere, and failing only where the target expects them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import Project

CLAIMS = """
from probes.errors import NotFiniteError

@pytest.mark.claim("warm", title="It is warm.", kind="observation")
@pytest.mark.parametrize("degrees", [10, 30])
def test_warm(model, evidence, degrees):
    evidence["degrees"] = degrees
    assert degrees > 20, f"{degrees} degrees"
"""
CONTRACT = """
@pytest.mark.claim("owed", title="It is owed.")
def test_owed(model):
    assert False, "not paid"
"""
BREAKS = """
@pytest.mark.claim("breaks", title="It breaks.", kind="observation")
def test_breaks(model):
    raise OSError("disk full")
"""
BROKEN_MODEL = """
@pytest.mark.claim("breaks", title="It breaks.", kind="observation")
def test_breaks(model):
    raise NotFiniteError("NaN")
"""
KNOWLEDGE = """
@pytest.mark.claim("knows", title="It knows.", needs=["model", "knowledge"])
def test_knows(model):
    assert False, "it does not know"
"""


@pytest.fixture
def targets(warm_project: Project, copy_of_embedded: Callable[..., Path]) -> Project:
    """A project with two targets: `ours` expects nothing, `sure` all."""
    folder = copy_of_embedded().as_posix()
    warm_project.pytester.makepyprojecttoml(
        f"""
[tool.probes.targets.ours]
folder = "{folder}"
[tool.probes.targets.sure]
folder = "{folder}"
expects = "all"
[tool.probes.targets.knowing]
folder = "{folder}"
provides = ["knowledge"]
"""
    )
    return warm_project


def test_unexpected_observation_does_not_fail_the_run(targets: Project) -> None:
    targets.test_file(CLAIMS)
    result = targets.run("--target", "ours", "--junit-xml", "junit.xml")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["test_mine.py o.*", "*section*claims*hold*not observed*", "not observed: warm: 10 degrees"]
    )
    result.stdout.fnmatch_lines(["*= 1 passed, 1 not observed in *"])
    claim = targets.claims()["warm"]
    assert (claim["kind"], claim["expected"], claim["verdict"], claim["reason"]) == (
        "observation",
        False,
        "not observed",
        "10 degrees",
    )
    checks = {each["verdict"]: each["values"] for each in claim["evidence"]}
    assert checks == {"not observed": {"degrees": 10}, "holds": {"degrees": 30}}
    (suite,) = ET.parse(targets.folder / "junit.xml").getroot()  # noqa: S314 - pytest's own
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_observation_fails_on_the_target_that_expects_it(targets: Project) -> None:
    targets.test_file(CLAIMS)
    result = targets.run("--target", "ours", "--target", "sure", "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = {r["target"]["name"]: r["claims"][0] for r in targets.records()}
    assert {name: (c["verdict"], c["expected"]) for name, c in found.items()} == {
        "ours": ("not observed", False),
        "sure": ("fails", True),
    }


@pytest.mark.parametrize(
    ("more", "code", "verdict"),
    [
        (CONTRACT, pytest.ExitCode.TESTS_FAILED, "fails"),
        (BREAKS, pytest.ExitCode.TESTS_FAILED, "error"),
        (BROKEN_MODEL, pytest.ExitCode.TESTS_FAILED, "error"),
    ],
    ids=["contract", "error", "broken model"],
)
def test_contract_or_error_fails_the_run(
    targets: Project, more: str, code: int, verdict: str
) -> None:
    targets.test_file(CLAIMS + more)
    assert targets.run("--target", "ours").ret == code
    assert [claim["verdict"] for claim in targets.record()["claims"]] == ["not observed", verdict]


def test_need_of_knowledge_makes_an_observation_with_a_warning(targets: Project) -> None:
    targets.test_file(KNOWLEDGE)
    result = targets.run("--target", "ours")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["*knows: the need 'knowledge' is deprecated: write kind='observation' in the marker*"]
    )
    claim = targets.claims()["knows"]
    assert (claim["kind"], claim["needs"], claim["verdict"]) == (
        "observation",
        ["model"],
        "not observed",
    )


def test_target_that_provides_knowledge_expects_all_with_a_warning(targets: Project) -> None:
    targets.test_file(KNOWLEDGE)
    result = targets.run("--target", "knowing")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*target 'knowing': provides = ?'knowledge'? is deprecated*"])
    assert targets.claims()["knows"]["verdict"] == "fails"


def test_deprecations_as_errors_are_refused_in_one_line(targets: Project) -> None:
    targets.test_file(KNOWLEDGE)
    for target in ("ours", "knowing"):
        result = targets.run("--target", target, "-W", "error")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "Traceback" not in result.stderr.str()
        result.stderr.fnmatch_lines(["ERROR: *'knowledge'*is deprecated*"])
