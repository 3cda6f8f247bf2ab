from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.project import Project

pytest.importorskip("xdist")

CLAIMS = """
@pytest.mark.claim("first", title="It holds.")
@pytest.mark.parametrize("number", range(12))
def test_first(model, evidence, number):
    evidence["number"] = number
    model.generate("The capital", max_new_tokens=1 + number % 3)

@pytest.mark.claim("second", title="It fails once.")
@pytest.mark.parametrize("number", range(4))
def test_second(model, evidence, number):
    evidence["number"] = float("nan") if number == 3 else number
    assert number != 2, f"{number} is two"

@pytest.mark.claim("third", title="It does not apply.", needs=("gpt2-xl",))
def test_third(model):
    pass

@pytest.mark.claim("fourth", title="It breaks.")
def test_fourth(model, evidence):
    evidence["kept"] = "日本"
    raise OSError("disk full")
"""


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs between any two runs."""
    for cost in (record["cost"], *(c["cost"] for k in record["claims"] for c in k["evidence"])):
        del cost["seconds"]
    return {k: v for k, v in record.items() if k not in ("started", "finished", "environment")}


def test_workers_write_the_record_of_one_process(warm_project: Project) -> None:
    warm_project.test_file(CLAIMS)
    plain = warm_project.run("--report-dir", "plain")
    spread = warm_project.run("--report-dir", "spread", "-n", "2")
    assert plain.ret == spread.ret == pytest.ExitCode.TESTS_FAILED
    (one,) = warm_project.records("plain")
    (other,) = warm_project.records("spread")
    assert (one["environment"]["workers"], other["environment"]["workers"]) == (1, 2)
    checks = [check for claim in other["claims"] for check in claim["evidence"]]
    for key in ("forward_passes", "rows", "tokens"):
        assert other["cost"][key] == sum(check["cost"][key] for check in checks)
    assert other["cost"]["seconds"] == pytest.approx(sum(c["cost"]["seconds"] for c in checks))
    assert other["cost"]["forward_passes"] == 24
    assert without_times(other) == without_times(one)
    spread.stdout.fnmatch_lines(
        [
            "probes *: target embedded",
            "every worker loads the weights it needs: up to 2 × 9 MB of embedded",
            "claims on embedded*",
            "fails: second: 2 is two",
            "report: spread/embedded/*Z/report.html",
        ]
    )


CRASHES = """
import os, signal

@pytest.mark.claim("crashes", title="Its worker is killed.")
@pytest.mark.parametrize("number", range(3))
def test_crashes(model, number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.claim("holds", title="It holds.")
@pytest.mark.parametrize("number", range(4))
def test_holds(model, number):
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")
def test_check_of_killed_worker_is_an_error(warm_project: Project) -> None:
    warm_project.test_file(CRASHES)
    result = warm_project.run("-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    claims = warm_project.claims()
    assert claims["holds"]["verdict"] == "holds"
    assert claims["crashes"]["verdict"] == "error"
    checks = {check["name"]: check["verdict"] for check in claims["crashes"]["evidence"]}
    assert checks == {
        "test_crashes[0]": "holds",
        "test_crashes[1]": "error",
        "test_crashes[2]": "holds",
    }
    result.stdout.fnmatch_lines(
        ["error: crashes: the worker that made this check was killed, perhaps for want of *"]
    )


def test_only_check_of_killed_worker_is_an_error(warm_project: Project) -> None:
    warm_project.test_file(CRASHES)
    result = warm_project.run("-n", "1", "-k", "crashes and 1", "--max-worker-restart", "0")
    assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR)
    assert [check["verdict"] for check in warm_project.claims()["crashes"]["evidence"]] == ["error"]
