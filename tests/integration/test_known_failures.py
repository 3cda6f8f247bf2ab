"""The option --known-failures: strict expectations, shown everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import Project

CLAIMS = """
@pytest.mark.claim("owed", title="It is owed.")
@pytest.mark.parametrize("name", ["paid", "unpaid"])
def test_owed(model, name):
    assert name == "paid", "not paid"
"""
BREAKS = """
@pytest.mark.claim("owed", title="It is owed.")
def test_breaks(model):
    raise OSError("disk full")
"""
SKIPPED = """
@pytest.mark.claim("owed", title="It is owed.")
def test_skipped(model):
    pytest.skip("not here")
"""
SEEN = """
@pytest.mark.claim("owed", title="It is owed.", kind="observation")
def test_seen(model):
    assert False, "not seen"
"""
HOLDS = """
@pytest.mark.claim("owed", title="It is owed.")
def test_holds(model):
    pass
"""


def known(project: Project, *lines: str, claim: str = "owed") -> str:
    """Write one known failure; return the option that names its file."""
    table = ["[[known-failure]]", f'claim = "{claim}"', 'reason = "a known bug"', *lines]
    (project.folder / "known.toml").write_text("\n".join(table), encoding="utf-8")
    return "--known-failures=known.toml"


each_way = pytest.mark.parametrize("more", [(), ("-n", "1")], ids=["plain", "worker"])


@each_way
def test_known_failure_is_shown_and_does_not_fail_the_run(
    warm_project: Project, more: tuple[str, ...]
) -> None:
    warm_project.test_file(CLAIMS)
    option = known(warm_project, 'check = "test_owed[unpaid]"', 'target = "emb*"')
    result = warm_project.run(option, *more)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["known failure: owed: not paid (a known bug)"])
    claim = warm_project.claims()["owed"]
    assert (claim["verdict"], claim["reason"], claim["known_failure"]) == (
        "fails",
        "not paid",
        "a known bug",
    )
    assert [each["known_failure"] for each in claim["evidence"]] == ["", "a known bug"]
    (report,) = (warm_project.folder / "reports").glob("*/*/report.html")
    assert "Known failure:" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("claims", "verdict", "code"),
    [(BREAKS, "error", 0), (SKIPPED, "not applicable", 5), (SEEN, "fails", 0)],
    ids=["error", "skipped", "expected observation"],
)
def test_known_failure_may_break_or_be_skipped(
    warm_project: Project, claims: str, verdict: str, code: int
) -> None:
    warm_project.test_file(claims)
    assert warm_project.run(known(warm_project)).ret == code
    assert warm_project.claims()["owed"]["verdict"] == verdict


def test_known_failure_that_holds_fails_the_run(warm_project: Project) -> None:
    warm_project.test_file(HOLDS)
    result = warm_project.run(known(warm_project))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    claim = warm_project.claims()["owed"]
    assert (claim["verdict"], claim["known_failure"]) == ("error", "")
    assert claim["reason"] == "it is known to fail, and holds now: a known bug"


def test_known_failure_that_fails_under_runxfail_says_why(warm_project: Project) -> None:
    warm_project.test_file(CLAIMS)
    option = known(warm_project, 'check = "*unpaid*"')
    assert warm_project.run(option, "--runxfail").ret == pytest.ExitCode.TESTS_FAILED
    claim = warm_project.claims()["owed"]
    assert (claim["verdict"], claim["reason"], claim["known_failure"]) == (
        "fails",
        "not paid",
        "a known bug",
    )


ALL_TARGETS = """
@pytest.mark.claim("owed", title="It is owed.", needs=())
def test_owed():
    assert False, "not paid"
"""


@pytest.mark.parametrize(("target", "code"), [("*", 0), ("one", 1)])
def test_known_failure_of_a_check_of_all_targets_names_each(
    project: Project, copy_of_embedded: Callable[..., Path], target: str, code: int
) -> None:
    project.test_file(ALL_TARGETS)
    option = known(project, f'target = "{target}"')
    targets = (f"--target={copy_of_embedded(name)}" for name in ("one", "two"))
    assert project.run(option, *targets).ret == code
    claims = [claim for record in project.records() for claim in record["claims"]]
    found = [(claim["verdict"], claim["known_failure"]) for claim in claims]
    assert found == [("fails", "" if code else "a known bug")] * 2


@pytest.mark.parametrize(
    "line",
    [
        'target = "mistral-*"',
        'check = "test_paid*"',
        'versions = {torch = "<1"}',
        'versions = {no-such-package = ">=1"}',
    ],
)
def test_known_failure_of_something_else_has_no_effect(warm_project: Project, line: str) -> None:
    warm_project.test_file(CLAIMS)
    assert warm_project.run(known(warm_project, line)).ret == pytest.ExitCode.TESTS_FAILED
    assert warm_project.claims()["owed"]["known_failure"] == ""


def test_known_failure_of_installed_versions_counts(warm_project: Project) -> None:
    warm_project.test_file(CLAIMS)
    option = known(warm_project, 'check = "*unpaid*"', 'versions = {torch = ">=2"}')
    assert warm_project.run(option).ret == pytest.ExitCode.OK


@each_way
def test_known_failure_of_no_claim_is_refused(warm_project: Project, more: tuple[str, ...]) -> None:
    warm_project.test_file(CLAIMS)
    result = warm_project.run(known(warm_project, claim="oved"), *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [*result.outlines, *result.errlines]
    assert [line for line in lines if line.startswith("ERROR: ")] == [
        "ERROR: --known-failures: no claim 'oved' in the catalogue or among the collected tests; "
        "did you mean 'owed'?"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'chek = "x"',
            "known.toml: [[][[]known-failure]]: unknown key 'chek'; did you mean 'check'?*",
        ),
        (
            'versions = {torch = "new"}',
            "known.toml: known-failure.versions.torch 'new' names no versions: write such as *",
        ),
        ("check = 3", "known.toml: known-failure.check 3 should be a valid string"),
        ("x", "known.toml is not valid TOML: *"),
    ],
)
def test_wrong_file_of_known_failures_is_refused(
    warm_project: Project, line: str, message: str
) -> None:
    result = warm_project.run(known(warm_project, line))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_missing_file_of_known_failures_is_refused(warm_project: Project) -> None:
    result = warm_project.run("--known-failures=none.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: none.toml is missing or not a regular file"])
