from __future__ import annotations

from typing import Any

import pytest

from tests.support.project import Project

KEPT = """
import math
from dataclasses import dataclass

import numpy
import torch

@dataclass
class Answer:
    text: str
    probability: float

@pytest.mark.claim("kept", title="Evidence is kept.")
def test_kept(model, evidence):
    evidence["none"] = None
    evidence["truth"] = [True, numpy.bool_(False)]
    evidence["whole"] = [7, numpy.int64(8), 2**80]
    evidence["real"] = [0.5, numpy.float32(0.25), numpy.float64(0.125)]
    evidence["not finite"] = [math.nan, math.inf, -math.inf, numpy.float32("nan")]
    evidence["text"] = "\\u2581日本 \\ud800 <script>"
    evidence["tuple"] = ("a", ("b",))
    evidence["table"] = [{"id": 1, "piece": "<s>"}]
    evidence["by id"] = {1: 0.5, numpy.str_("x"): {}}
    evidence["array"] = numpy.arange(4).reshape(2, 2)
    evidence["tensor"] = torch.tensor([[0.5, float("nan")]], dtype=torch.bfloat16)
    evidence["gradient"] = torch.ones(1, requires_grad=True)
    evidence["scalar tensor"] = torch.tensor(3)
    evidence["empty"] = numpy.zeros((0, 4))
    evidence["dataclass"] = [Answer("Tokyo", numpy.float32(0.5))]
"""

VALUES: dict[str, Any] = {
    "none": None,
    "truth": [True, False],
    "whole": [7, 8, 2**80],
    "real": [0.5, 0.25, 0.125],
    "not finite": ["NaN", "Infinity", "-Infinity", "NaN"],
    "text": "▁日本 \\ud800 <script>",
    "tuple": ["a", ["b"]],
    "table": [{"id": 1, "piece": "<s>"}],
    "by id": {"1": 0.5, "x": {}},
    "array": [[0, 1], [2, 3]],
    "tensor": [[0.5, "NaN"]],
    "gradient": [1.0],
    "scalar tensor": 3,
    "empty": [],
    "dataclass": [{"text": "Tokyo", "probability": 0.5}],
}


def test_evidence_keeps_values_arrays_and_tensors(warm_project: Project) -> None:
    warm_project.test_file(KEPT)
    assert warm_project.run().ret == 0
    assert warm_project.claims()["kept"]["evidence"][0]["values"] == VALUES


REFUSED = {
    "{1, 2}": "evidence 'x' holds a set, which a record cannot: attach numbers, texts, lists, "
    "dictionaries or small arrays",
    "[{'a': object()}]": "evidence 'x' holds a object, which a record cannot: attach numbers, "
    "texts, lists, dictionaries or small arrays",
    "1j": "evidence 'x' holds a complex, which a record cannot: attach numbers, texts, lists, "
    "dictionaries or small arrays",
    "b'bytes'": "evidence 'x' holds a bytes, which a record cannot: attach numbers, texts, lists, "
    "dictionaries or small arrays",
    "{(1, 2): 3}": "evidence 'x' holds a key that is a tuple: use texts or whole numbers",
    "numpy.zeros((1024, 1024))": "evidence 'x' is an array of 1,048,576 elements: attach a "
    "summary of it",
    "[7] * 2**19": "evidence 'x' takes 1,572,864 bytes, more than the 1,048,576 that are kept: "
    "attach a summary of it",
    "evidence": "evidence 'x' is nested too deeply, or holds itself",
}


def test_evidence_that_cannot_be_kept_is_an_error(warm_project: Project) -> None:
    warm_project.test_file(
        f"""
import numpy

@pytest.mark.claim("refused", title="Evidence is refused.")
@pytest.mark.parametrize("code", {list(REFUSED)})
def test_refused(model, evidence, code):
    evidence["before"] = 1
    evidence["x"] = eval(code)
    evidence["after"] = 2

@pytest.mark.claim("fails-first", title="A failure counts before refused evidence.")
def test_fails_first(model, evidence):
    evidence["x"] = {{1}}
    assert False, "it fails"

@pytest.mark.claim("next-token")
def test_misfit(model, evidence):
    evidence["top_ten"] = 10

@pytest.mark.claim("own", title="In claims of your own, names are free.")
def test_own(model, evidence):
    evidence["top_ten"] = 10
"""
    )
    result = warm_project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*Traceback*")
    claims = warm_project.claims()
    found = {name: (claim["verdict"], claim["reason"]) for name, claim in claims.items()}
    assert found["fails-first"] == ("fails", "it fails")
    reason = "evidence 'top_ten' does not fit MostLikely: Input should be a valid list"
    assert found["next-token"] == ("error", reason)
    assert found["own"] == ("holds", "")
    checks = claims["refused"]["evidence"]
    assert [check["reason"] for check in checks] == list(REFUSED.values())
    assert {check["verdict"] for check in checks} == {"error"}
    assert all(check["values"] == {"before": 1, "after": 2} for check in checks)


def test_evidence_cuts_texts_of_megabytes(warm_project: Project) -> None:
    warm_project.test_file(
        """
@pytest.mark.claim("long", title="It writes much.")
def test_long(model, evidence):
    evidence["text"] = "long " * 2_000_000
    evidence["steps"] = [{"id": i, "text": "long " * 20_000} for i in range(200)]
    evidence["short"] = "short"
    raise AssertionError("it wrote " + evidence["text"])
"""
    )
    result = warm_project.run("--tb=no")
    assert len(result.stdout.str()) < 10_000
    claim = warm_project.claims()["long"]
    (check,) = claim["evidence"]
    assert claim["verdict"] == "fails"
    assert claim["reason"].startswith("it wrote long ")
    assert claim["reason"].endswith("… (cut: 10,000,008 characters)")
    assert check["values"]["text"] == "long " * 2_000 + "… (cut: 10,000,000 characters)"
    assert check["values"]["steps"][199] == {
        "id": 199,
        "text": "long " * 200 + "… (cut: 100,000 characters)",
    }
    assert check["values"]["short"] == "short"
    (folder,) = (warm_project.folder / "reports").glob("*/*")
    assert (folder / "report.html").stat().st_size < 2**20
