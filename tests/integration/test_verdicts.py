from __future__ import annotations

import re

import pytest

from tests.support.project import Project

SEVERAL = """
from probes.errors import NotFiniteError, UndecidableError

@pytest.mark.claim("good", title="It holds.")
def test_good(model, evidence):
    evidence["prompt"] = "Hello"
    assert model.encode("Hello world") == [1, 22557, 1526]

@pytest.mark.claim("bad", title="It fails.", section="Mine")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_bad(model, evidence, number):
    evidence["number"] = number
    assert number != 2, f"{number} is two"

@pytest.mark.claim("bare", title="An assertion without a message.")
def test_bare(model):
    assert model.encode("") == [2]

@pytest.mark.claim("stated", title="Failed by name.")
def test_stated(model):
    pytest.fail("said so")

@pytest.mark.claim("mishap", title="It breaks.")
def test_mishap(model, evidence):
    evidence["before"] = True
    raise OSError("disk full")

@pytest.fixture
def broken():
    assert False, "no such luck"

@pytest.mark.claim("broken-fixture", title="Its fixture breaks.")
def test_broken_fixture(model, broken):
    pass

@pytest.fixture
def undecidable(model):
    raise UndecidableError("its context is too short")

@pytest.mark.claim("undecidable-fixture", title="Its fixture finds that it does not apply.")
def test_undecidable_fixture(model, undecidable):
    pass

@pytest.fixture
def not_finite(model):
    raise NotFiniteError("1 of 3 is NaN")

@pytest.mark.claim("not-finite-fixture", title="Its fixture finds that the model is broken.")
def test_not_finite_fixture(model, not_finite):
    pass

@pytest.fixture
def broken_end():
    yield
    raise KeyError("lost")

@pytest.mark.claim("broken-teardown", title="What is taken down breaks.")
def test_broken_teardown(model, broken_end):
    pass

@pytest.mark.claim("fails-and-breaks", title="The assertion counts.")
def test_fails_and_breaks(model, broken_end):
    assert False, "the assertion"

@pytest.mark.claim("skipped-and-breaks", title="A break counts before a skip.")
def test_skipped_and_breaks(model, broken_end):
    pytest.skip("for a reason")

@pytest.mark.claim("skipped", title="It cannot be decided.")
def test_skipped(model):
    pytest.skip("for a reason")

@pytest.mark.claim("lacking", title="It needs more.", needs=("gpt2-xl",))
def test_lacking(model):
    raise AssertionError("never run")

@pytest.mark.claim("lacking-more", title="This test needs more.")
@pytest.mark.needs("gpt2-xl")
def test_lacking_more(model):
    raise AssertionError("never run")

@pytest.mark.claim("half", title="One check applies, and holds.")
@pytest.mark.parametrize("skip", [True, False])
def test_half(model, skip):
    if skip:
        pytest.skip("this one not")

@pytest.mark.claim("known", title="It is known to fail.")
@pytest.mark.xfail(reason="a known bug", strict=True)
def test_known(model):
    assert False

@pytest.mark.claim("known-no-more", title="It was known to fail.")
@pytest.mark.xfail(reason="a known bug", strict=True)
def test_known_no_more(model):
    pass

@pytest.mark.claim("not-run", title="It is known to crash.")
@pytest.mark.xfail(reason="crashes", run=False)
def test_not_run(model):
    pass

class Group(Exception):
    exceptions = (AssertionError("a"), AssertionError("b"))

@pytest.mark.claim("two-assertions", title="Two assertions fail together.")
def test_two_assertions(model):
    raise Group("both")

def test_of_no_claim():
    pass
"""

GPT2_XL = (
    'its weights are not those of GPT-2 XL; if they are, declare provides = ["gpt2-xl"] for it '
    "in a targets file"
)

EXPECTED = {
    "good": ("holds", ""),
    "bad": ("fails", "2 is two"),
    "bare": ("fails", "assert [1] == [2]"),
    "stated": ("fails", "said so"),
    "mishap": ("error", "OSError: disk full"),
    "broken-fixture": ("error", "no such luck"),
    "undecidable-fixture": ("not applicable", "its context is too short"),
    "not-finite-fixture": ("fails", "1 of 3 is NaN"),
    "broken-teardown": ("error", "KeyError: 'lost'"),
    "fails-and-breaks": ("fails", "the assertion"),
    "skipped-and-breaks": ("error", "KeyError: 'lost'"),
    "skipped": ("not applicable", "for a reason"),
    "lacking": ("not applicable", GPT2_XL),
    "lacking-more": ("not applicable", GPT2_XL),
    "half": ("holds", ""),
    "known": ("fails", "expected to fail: a known bug"),
    "known-no-more": ("error", "[XPASS(strict)] a known bug"),
    "not-run": ("not applicable", "not run: crashes"),
    "two-assertions": ("fails", "a"),
}

SUMMARY = (
    """
claims on embedded: 2 claims hold, 7 fail, 5 ended in an error, 5 not applicable
fails: bad: 2 is two
fails: bare: assert [1] == [2]
fails: stated: said so
error: mishap: OSError: disk full
error: broken-fixture: no such luck
fails: not-finite-fixture: 1 of 3 is NaN
error: broken-teardown: KeyError: 'lost'
fails: fails-and-breaks: the assertion
error: skipped-and-breaks: KeyError: 'lost'
fails: known: expected to fail: a known bug
error: known-no-more: [XPASS(strict)] a known bug
fails: two-assertions: a
to decide one alone: pytest --claim bad
┏━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━┳━━━━━━┳━━━━━━━┳━━━━━━━━━━━━━━━━┓
┃ section            ┃ claims ┃ hold ┃ fail ┃ error ┃ not applicable ┃
┡━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━╇━━━━━━╇━━━━━━━╇━━━━━━━━━━━━━━━━┩
│ Claims of your own │     18 │    2 │    6 │     5 │              5 │
│ Mine               │      1 │    · │    1 │     · │              · │
├────────────────────┼────────┼──────┼──────┼───────┼────────────────┤
│ all                │     19 │    2 │    7 │     5 │              5 │
└────────────────────┴────────┴──────┴──────┴───────┴────────────────┘
not applicable: undecidable-fixture: its context is too short
not applicable: skipped: for a reason
not applicable: lacking, lacking-more: GPT2_XL
not applicable: not-run: not run: crashes
holds, but not all of it is applicable: half: this one not
""".replace("GPT2_XL", GPT2_XL)
    .strip()
    .splitlines()
)


def test_every_outcome_has_verdict_reason_and_line(warm_project: Project) -> None:
    warm_project.test_file(SEVERAL)
    result = warm_project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    claims = warm_project.claims()
    found = {name: (claim["verdict"], claim["reason"]) for name, claim in claims.items()}
    assert found == EXPECTED
    checks = claims["bad"]["evidence"]
    assert [check["name"] for check in checks] == ["test_bad[1]", "test_bad[2]", "test_bad[3]"]
    assert [check["verdict"] for check in checks] == ["holds", "fails", "holds"]
    assert [check["values"] for check in checks] == [{"number": 1}, {"number": 2}, {"number": 3}]
    assert checks[1]["reason"] == "2 is two\nassert 2 != 2"
    assert claims["mishap"]["evidence"][0]["values"] == {"before": True}
    assert claims["lacking-more"]["evidence"][0]["cost"]["seconds"] == 0.0
    assert all(check["cost"]["forward_passes"] == 0 for check in checks)
    lines = [line.rstrip() for line in result.outlines]
    start = lines.index(SUMMARY[0])
    assert lines[start : start + len(SUMMARY)] == SUMMARY
    assert re.fullmatch(
        r"report: reports/embedded/\d{8}T\d{6}Z/report\.html", lines[start + len(SUMMARY)]
    )
    assert re.fullmatch(r"=+ .* in .*s =+", lines[start + len(SUMMARY) + 1])
    assert len(lines) == start + len(SUMMARY) + 2


def test_cost_counts_forward_passes_of_a_check(warm_project: Project) -> None:
    warm_project.test_file(
        """
@pytest.mark.claim("passes", title="It costs a pass.")
@pytest.mark.parametrize("samples", [1, 3])
def test_passes(model, samples):
    settings = {"max_new_tokens": 2, "num_return_sequences": samples, "do_sample": True}
    model.generate("The capital", seed=0, **settings)
"""
    )
    assert warm_project.run().ret == 0
    record = warm_project.record()
    costs = [check["cost"] for check in record["claims"][0]["evidence"]]
    assert [cost["forward_passes"] for cost in costs] == [2, 2]
    assert [cost["rows"] for cost in costs] == [2, 6]
    assert record["cost"]["forward_passes"] == 4
    assert record["cost"]["seconds"] == pytest.approx(sum(cost["seconds"] for cost in costs))


def test_deselected_checks_are_counted(warm_project: Project) -> None:
    warm_project.test_file(SEVERAL)
    result = warm_project.run("-k", "test_bad and not 2")
    assert result.ret == 0
    claim = warm_project.claims()["bad"]
    assert (claim["verdict"], claim["planned"], claim["deselected"]) == ("holds", 2, 1)
    assert warm_project.record()["complete"] is True


def test_stopped_run_leaves_claims_undecided(warm_project: Project) -> None:
    warm_project.test_file(SEVERAL)
    result = warm_project.run("-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not decided: bare: stopped after 0 of 1 checks"])
    claims = warm_project.claims()
    assert claims["good"]["verdict"] == "holds"
    assert claims["bad"]["verdict"] == "fails"
    assert claims["mishap"]["verdict"] is None
    assert warm_project.record()["complete"] is False


def test_run_that_decided_nothing_exits_5(warm_project: Project) -> None:
    warm_project.test_file(SEVERAL)
    result = warm_project.run("-k", "skipped and not breaks or test_lacking or test_of_no_claim")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["no claim was decided"])
    assert {claim["verdict"] for claim in warm_project.record()["claims"]} == {"not applicable"}


def test_run_without_claims_writes_nothing(project: Project) -> None:
    project.test_file("def test_of_no_claim():\n    pass\n")
    result = project.run("-q")
    assert result.ret == pytest.ExitCode.OK
    assert not (project.folder / "reports").exists()
    result.stdout.no_fnmatch_line("*claims on*")


def test_failed_subtest_fails_the_claim(warm_project: Project) -> None:
    pytest.importorskip("_pytest.subtests", reason="this pytest has no subtests")
    warm_project.test_file(
        """
@pytest.mark.claim("parts", title="Every part holds.")
def test_parts(model, subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1
"""
    )
    assert warm_project.run().ret == pytest.ExitCode.TESTS_FAILED
    claim = warm_project.claims()["parts"]
    assert (claim["verdict"], claim["reason"]) == ("fails", "assert 1 != 1")
    assert len(claim["evidence"]) == 1


def test_hypothesis_failure_shows_the_example(warm_project: Project) -> None:
    warm_project.test_file(
        """
from hypothesis import HealthCheck, given, settings, strategies as st

@pytest.mark.claim("small", title="Every number is small.")
@settings(suppress_health_check=list(HealthCheck), database=None)
@given(number=st.integers())
def test_small(model, number):
    assert number < 10
    assert number > -10
"""
    )
    assert warm_project.run().ret == pytest.ExitCode.TESTS_FAILED
    claim = warm_project.claims()["small"]
    assert claim["verdict"] == "fails"
    (check,) = claim["evidence"]
    assert "assert 10 < 10\n" in check["reason"]
    assert "assert -10 > -10\n" in check["reason"]
