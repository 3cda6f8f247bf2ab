"""Runs on a server: its token budget, and what is recorded where it fails."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

import pytest

import probes
from tests.support.project import Project
from tests.support.stub_server import Stub, serve

CLAIMS = """
@pytest.mark.claim("short", title="It continues a text.")
def test_short(model):
    assert model.generate("Once", max_new_tokens=8).text

@pytest.mark.claim("long", title="It continues many texts.")
def test_long(model):
    assert model.generate("Once", max_new_tokens=4).text
    assert model.generate_batch(["Once"] * 5, max_new_tokens=8)

@pytest.mark.claim("ids", title="It encodes a text.", needs=["encoding"])
def test_ids(model):
    assert model.encode("Once")
"""


@pytest.fixture
def stub(warm_project: Project) -> Stub:
    warm_project.test_file(CLAIMS)
    return Stub(probes.load("embedded"))


def test_token_budget_leaves_out_what_does_not_fit(warm_project: Project, stub: Stub) -> None:
    with serve(stub) as address:
        result = warm_project.run("--target", f"{address}#stub", "--token-budget", "40")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    spent = (2 + 1) + (2 + 8) + (2 + 4)  # `<s>`, a word, and the new tokens; the first one asks
    result.stdout.fnmatch_lines(
        [
            "not decided: long: over the token budget (40 tokens)",
            f"asked of stub: {spent} tokens, prompts included, in * requests",
        ]
    )
    record = warm_project.record()
    assert record["cost"]["tokens"] == spent
    assert {claim["id"]: claim["verdict"] for claim in record["claims"]} == {
        "short": "holds",
        "long": "not decided",
        "ids": "holds",
    }
    assert record["complete"] is False


@dataclass
class Failing(Stub):
    """A server that does something else from a request on."""

    first: int = 4
    failure: tuple[int, Any] = (0, {})

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        status, answer = super().answer(path, body)
        if body is None or len(self.requests) < self.first:
            return status, answer
        return self.failure if self.failure[0] != SAME else (200, answer | self.failure[1])


SAME = -1


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ((0, {}), "*/v1/completions does not answer: Server disconnected*is the server running*"),
        ((SAME, {"model": "other"}), "*was 'stub' and is now 'other': what is behind the address*"),
    ],
)
def test_run_ends_in_one_line_where_its_server_is_lost(
    warm_project: Project, stub: Stub, monkeypatch: pytest.MonkeyPatch, failure: Any, line: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with serve(Failing(stub.engine, failure=failure)) as address:
        result = warm_project.run("--target", f"{address}#stub")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.no_fnmatch_line("*Traceback*")
    fnmatch = [
        text for text in [*result.outlines, *result.errlines] if "v1" in text or "was" in text
    ]
    assert any(re.search(translate(line), text) for text in fnmatch), fnmatch
    claims = {claim["id"]: claim["verdict"] for claim in warm_project.record()["claims"]}
    assert (claims["short"], claims["ids"]) == ("holds", None)


SECRET = "k-0123456789-abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ((200, "<html>"), "answers no JSON object: "),
        ((500, {"error": "no memory"}), "answers 500, 5 times: "),
        ((200, {"error": "x" * 165 + SECRET}), "the server's answer has no text"),
    ],
)
def test_rubbish_is_an_error_of_its_check(
    warm_project: Project, stub: Stub, monkeypatch: pytest.MonkeyPatch, failure: Any, words: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("PROBES_API_KEY", SECRET)
    with serve(Failing(stub.engine, failure=failure)) as address:
        result = warm_project.run("--target", f"{address}#stub")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*k-0123*")
    result.stdout.no_fnmatch_line("*raise EndpointFailedError*")
    found = {claim["id"]: claim for claim in warm_project.record()["claims"]}
    assert (found["short"]["verdict"], found["long"]["verdict"]) == ("holds", "error")
    assert words in found["long"]["reason"]
    assert warm_project.record()["complete"]


@pytest.mark.parametrize("value", ["-1", "many"])
def test_token_budget_needs_a_number(project: Project, value: str) -> None:
    result = project.run("--target", "http://127.0.0.1:9/v1#m", "--token-budget", value)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = result.stderr.str().strip()
    assert line.startswith(f"ERROR: --token-budget {value!r} should be ")
    assert "\n" not in line


def test_token_budget_needs_a_server(project: Project) -> None:
    result = project.run("--token-budget", "100")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    expected = "ERROR: target 'embedded' cannot have a token budget: no server computes it"
    assert result.stderr.str().strip() == expected


# --- checks of servers and of networks ----------------------------------------------------------


def test_each_kind_of_target_has_its_own_checks_of_a_claim(
    warm_project: Project, stub: Stub
) -> None:
    with serve(stub) as address:
        records = warm_project.decide([f"{address}#stub", "embedded"], ["seeded"])
    checks = {
        name: {check["name"].partition("[")[0] for check in record["claims"][0]["evidence"]}
        for name, record in records.items()
    }
    assert checks == {
        "stub": {"test_a_seed_decides_what_is_drawn", "test_other_seeds_draw_other_texts"},
        "embedded": {
            "test_a_seed_decides_the_sample",
            "test_another_seed_gives_another_sample",
        },
    }
    assert all(record["complete"] for record in records.values())
    assert {record["claims"][0]["verdict"] for record in records.values()} == {"holds"}


def test_own_check_of_a_built_in_claim_counts_on_a_server(
    warm_project: Project, stub: Stub
) -> None:
    own = """
@pytest.mark.claim("seeded")
def test_mine(model):
    pytest.fail("not as wanted")
"""
    file = warm_project.test_file(own)
    with serve(stub) as address:
        records = warm_project.decide([f"{address}#stub"], ["seeded"], str(file))
    (claim,) = records["stub"]["claims"]
    assert (claim["verdict"], claim["reason"]) == ("fails", "not as wanted")
