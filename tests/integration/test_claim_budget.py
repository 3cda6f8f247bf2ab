"""`--claim-budget`: contracts first, the dearest last, and what does not fit is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import probes
from tests.support.project import Project

CLAIMS = """
import time

@pytest.mark.claim("seen", title="It is seen.", kind="observation")
def test_seen(model):
    model.encode("It is seen.")

@pytest.mark.claim("seen-slowly", title="It is seen late.", kind="observation")
@pytest.mark.parametrize("number", [1, 2])
def test_seen_slowly(model, number):
    pass

@pytest.mark.claim("owed-slowly", title="It is owed late.")
def test_owed_slowly(model):
    time.sleep(SLEEP)

@pytest.mark.claim("owed", title="It is owed.")
def test_owed(model):
    model.encode("It is owed.")
"""
EARLIER = {"owed-slowly": 300.0, "seen": 0.2, "seen-slowly": 500.0}
"""Seconds that a check of each claim took, as the record of an earlier run says."""


def run_before(project: Project, target: str) -> None:
    """Leave a record of a slow run on a target."""
    assert project.run("--target", target).ret == 0
    [path] = (project.folder / "reports" / target).glob("*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    for claim in record["claims"]:
        for check in claim["evidence"]:
            check["cost"]["seconds"] = EARLIER.get(claim["id"], 0.01)
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def known(warm_project: Project, copy_of_embedded: Callable[..., Path]) -> Project:
    """A project with a target that expects no observation, and one run on it without a budget."""
    folder = copy_of_embedded().as_posix()
    warm_project.pytester.makepyprojecttoml(
        f'[tool.pytest.ini_options]\n[tool.probes.targets.ours]\nfolder = "{folder}"\n'
    )
    warm_project.test_file(CLAIMS.replace("SLEEP", "0"))
    run_before(warm_project, "ours")
    return warm_project


def verdicts(project: Project) -> dict[str, str]:
    claims = project.records()[-1]["claims"]
    return {claim["id"]: claim["verdict"] for claim in claims}


def test_budget_decides_contracts_first_and_dearest_last(known: Project) -> None:
    result = known.run("--target", "ours", "--claim-budget", "5000", "-v")
    assert result.ret == 0
    names = ["test_owed", "test_owed_slowly", "test_seen", "test_seen_slowly", "test_seen_slowly"]
    result.stdout.fnmatch_lines([f"*::{name}[[]ours*" for name in names])
    assert [claim["id"] for claim in known.records()[-1]["claims"]] == [
        *("seen", "seen-slowly", "owed-slowly", "owed")
    ]


def test_left_out_observation_is_named_and_ends_with_0(known: Project) -> None:
    options = ("--target", "ours", "--claim-budget", "400", "--summary", "summary.md")
    result = known.run(*options)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "│ Claims of your own │      4 │    3 │           1 │",
            "not decided: seen-slowly: over budget (400 s)",
        ]
    )
    summary = (known.folder / "summary.md").read_text(encoding="utf-8")
    assert "Not decided: seen-slowly: over budget (400 s)" in summary
    claim = {each["id"]: each for each in known.records()[-1]["claims"]}["seen-slowly"]
    assert (claim["verdict"], claim["reason"]) == ("not decided", "over budget (400 s)")
    assert [check["verdict"] for check in claim["evidence"]] == ["not decided", "not decided"]
    [report] = sorted((known.folder / "reports" / "ours").glob("*/report.html"))[-1:]
    assert "over budget (400 s)" in report.read_text(encoding="utf-8")


def test_left_out_claim_is_not_compared(known: Project) -> None:
    baseline = next((known.folder / "reports").glob("ours/*"))
    known.run("--target", "ours", "--claim-budget", "400")
    now = max((known.folder / "reports").glob("ours/*/record.json"))
    compared = probes.compare_records(probes.read_record(baseline), probes.read_record(now))
    outcomes = {claim.id: claim.outcome.value for claim in compared.claims}
    assert outcomes["seen-slowly"] == "not comparable"
    assert {outcomes[each] for each in ("seen", "owed", "owed-slowly")} == {"same"}


def test_left_out_contract_ends_with_1(known: Project) -> None:
    result = known.run("--target", "ours", "--claim-budget", "100")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = verdicts(known)
    assert (found["owed"], found["owed-slowly"]) == ("holds", "not decided")


def test_left_out_expected_observation_ends_with_1(known: Project) -> None:
    run_before(known, "embedded")
    result = known.run("--claim-budget", "400")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not decided: seen-slowly: over budget (400 s)"])


def test_nothing_decided_ends_with_5(known: Project) -> None:
    result = known.run("--target", "ours", "--claim-budget", "100", "--claim", "seen-slowly")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["no claim was decided"])


def test_check_that_takes_longer_than_expected_leaves_out_what_follows(
    known: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EARLIER, "owed-slowly", 0.1)
    shutil.rmtree(known.folder / "reports")
    run_before(known, "ours")
    known.test_file(CLAIMS.replace("SLEEP", "1"))
    result = known.run("--target", "ours", "--claim-budget", "0.9")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["not decided: seen, seen-slowly: over budget (0.9 s)"])


def test_workers_share_a_budget(known: Project) -> None:
    pytest.importorskip("xdist")
    result = known.run("--target", "ours", "--claim-budget", "400", "-n", "2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["not decided: seen-slowly: over budget (400 s)"])


def test_budget_holds_for_each_target(known: Project) -> None:
    run_before(known, "embedded")
    result = known.run("--target", "embedded", "--target", "ours", "--claim-budget", "820", "-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    names = [f"*::test_{name}*" for name in ("owed[[]embedded*", "seen[[]embedded*")]
    result.stdout.fnmatch_lines([*names, "*::test_owed[[]ours*", "*::test_seen[[]ours*"])
    for target in ("embedded", "ours"):
        newest = max((known.folder / "reports" / target).glob("*/record.json"))
        claims = {claim.id: claim.verdict for claim in probes.read_record(newest).claims}
        assert [claim for claim in claims if claims[claim] == "not decided"] == ["seen-slowly"]


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "soon"])
def test_wrong_budget_gets_one_line(project: Project, value: str) -> None:
    project.test_file("def test_it(): pass\n")
    result = project.run(f"--claim-budget={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in result.errlines if line]
    assert line == f"ERROR: --claim-budget needs a number of seconds above 0, not '{value}'"


LEFT_OUT_IN_PART = """
import time

@pytest.mark.claim("owed", title="It is owed.")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_owed(model, number):
    time.sleep(0.3)
    assert number > 1
"""


def test_checks_left_out_beside_a_known_failure_are_not_green(warm_project: Project) -> None:
    known = '[[known-failure]]\nclaim = "owed"\ncheck = "*1*"\nreason = "known"\n'
    (warm_project.folder / "known.toml").write_text(known, encoding="utf-8")
    warm_project.test_file(LEFT_OUT_IN_PART)
    options = ("--known-failures", "known.toml")
    done = warm_project.run(*options, "--claim-budget", "0.2")
    assert done.ret == 1, done.stdout.str()
    record = warm_project.records()[-1]
    assert [check["verdict"] for check in record["claims"][0]["evidence"]].count("not decided") >= 2
    assert record["complete"] is False


def test_fixture_that_fails_after_a_check_was_left_out_is_an_error(warm_project: Project) -> None:
    warm_project.test_file(
        """
import time

@pytest.fixture(scope="module")
def torn():
    yield
    raise RuntimeError("torn down badly")

@pytest.mark.claim("owed", title="It is owed.")
@pytest.mark.parametrize("number", [1, 2])
def test_owed(model, torn, number):
    time.sleep(0.3)
"""
    )
    done = warm_project.run("--claim-budget", "0.2")
    assert done.ret == 1
    assert warm_project.record()["claims"][0]["verdict"] == "error"
