from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from probes.report.pictures import CHART_PACKAGES
from tests.support.project import Project

TWO = """
@pytest.mark.claim("hello", title="Hello has its ids.")
def test_hello(model, evidence):
    evidence["ids"] = model.encode("Hello world")
    assert evidence["ids"] == [1, 22557, 1526]

@pytest.mark.claim("empty", title="The empty text has one id.")
@pytest.mark.parametrize("number", [1, 2])
def test_empty(model, number):
    assert len(model.encode("")) == 1
"""


def test_no_report_writes_nothing(warm_project: Project) -> None:
    warm_project.test_file(TWO)
    result = warm_project.run("--no-report", "--summary", "summary.md")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["claims on embedded*", "│ Claims of your own │      2 │    2 │"])
    result.stdout.no_fnmatch_line("report: *")
    assert not (warm_project.folder / "reports").exists()
    assert "Report" not in (warm_project.folder / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "report", "place"),
    [
        (("--report-dir", "out/of/here"), "out/of/here", "inner/out/of/here"),
        ((), "FOLDER/reports", "reports"),
    ],
    ids=["from the current folder", "in the project"],
)
def test_report_dir_is_below_the_right_folder(
    warm_project: Project,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    report: str,
    place: str,
) -> None:
    warm_project.pytester.makeini("[pytest]")
    (warm_project.folder / "inner").mkdir()
    warm_project.test_file(TWO, name="inner/test_inner.py")
    monkeypatch.chdir(warm_project.folder / "inner")
    result = warm_project.run(*options)
    assert result.ret == 0
    shown = report.replace("FOLDER", str(warm_project.folder))
    result.stdout.fnmatch_lines([f"report: {shown}/embedded/*Z/report.html"])
    (folder,) = (warm_project.folder / place / "embedded").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "report.html"]
    listed = (warm_project.folder / place / "index.html").read_text(encoding="utf-8")
    assert f"embedded/{folder.name}/report.html" in listed


def test_run_without_chart_packages_says_how_to_get_charts(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHART_PACKAGES, "no_such_module", "no-such-package")
    warm_project.test_file(TWO)
    result = warm_project.run()
    line = "it has no charts; for them: python -m pip install no-such-package && probes report"
    result.stdout.fnmatch_lines([f"{line} reports/embedded/*Z"])


def test_junit_xml_names_the_claim_of_each_check(warm_project: Project) -> None:
    warm_project.test_file(TWO)
    assert warm_project.run("--junit-xml", "junit.xml").ret == 0
    file = warm_project.folder / "junit.xml"
    cases = ElementTree.parse(file).iter("testcase")  # noqa: S314 - pytest wrote it
    claims = [case.findall("properties/property") for case in cases]
    assert [[each.attrib for each in of_one] for of_one in claims] == [
        [{"name": "claim", "value": claim}] for claim in ("hello", "empty", "empty")
    ]


def test_two_targets_give_two_records_and_one_summary(
    warm_project: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    other = copy_of_embedded("modèle-[1]")
    warm_project.test_file(TWO)
    targets = ("--target", "embedded", "--target", str(other))
    result = warm_project.run(*targets, "--summary", "summary.md")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "probes *: target embedded, modèle-?1?",
            "claims on embedded*",
            "report: reports/embedded/*",
            "claims on modèle-?1?*",
            "report: reports/*",
        ]
    )
    records = warm_project.records()
    assert sorted(record["target"]["name"] for record in records) == ["embedded", "modèle-[1]"]
    one, two = ([c["name"] for claim in r["claims"] for c in claim["evidence"]] for r in records)
    assert one == two == ["test_hello", "test_empty[1]", "test_empty[2]"]
    listed = (warm_project.folder / "reports" / "index.html").read_text(encoding="utf-8")
    assert listed.count("/report.html") == 2
    summary = (warm_project.folder / "summary.md").read_text(encoding="utf-8")
    assert [line for line in summary.splitlines() if line.startswith("## ")] == [
        "## embedded: All 2 claims hold.",
        "## modèle-\\[1\\]: All 2 claims hold.",
    ]
    assert summary.count("Report: reports/") == 2


def test_unwritable_summary_is_refused(warm_project: Project) -> None:
    warm_project.test_file(TWO)
    result = warm_project.run("--summary", "missing/summary.md")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: the summary cannot be written to '*': *; name another file with --summary"]
    )
    assert warm_project.records() == []


def test_summary_is_appended_to_github_job(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = warm_project.folder / "job.md"
    job.write_text("before\n", encoding="utf-8")
    warm_project.test_file(TWO)
    for file, line in (
        (job, "report: *"),
        (job / "missing", "no summary in GITHUB_STEP_SUMMARY: *"),
    ):
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
        result = warm_project.run()
        assert result.ret == 0
        result.stdout.fnmatch_lines([line])
    assert job.read_text(encoding="utf-8").startswith("before\n## embedded: All 2 claims hold.\n")


def test_claim_option_keeps_the_claims_named(warm_project: Project) -> None:
    warm_project.test_file(TWO + "\ndef test_of_no_claim():\n    assert False\n")
    result = warm_project.run("--claim", "empty")
    assert result.ret == 0
    result.assert_outcomes(passed=2, deselected=2)
    assert list(warm_project.claims()) == ["empty"]
    warm_project.run("--claim", "empty", "--claim", "hello", "--report-dir", "both")
    (record,) = warm_project.records("both")
    assert [claim["id"] for claim in record["claims"]] == ["hello", "empty"]


def test_targets_file_and_project_define_targets(
    warm_project: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    folder = copy_of_embedded()
    (warm_project.folder / "pyproject.toml").write_text(
        f"[tool.probes.targets.ours]\nfolder = '{folder}'\n[tool.pytest.ini_options]\n",
        encoding="utf-8",
    )
    (warm_project.folder / "more.toml").write_text(
        f"[targets.mine]\nfolder = '{folder}'\n", encoding="utf-8"
    )
    warm_project.test_file(TWO)
    result = warm_project.run("--targets-file", "more.toml", "--target", "ours", "--target", "mine")
    assert result.ret == 0
    assert {record["target"]["name"] for record in warm_project.records()} == {"ours", "mine"}


def test_loading_options_apply_and_are_recorded(warm_project: Project) -> None:
    warm_project.test_file(
        """
@pytest.mark.claim("loaded", title="It is loaded as asked.")
def test_loaded(model):
    assert str(model.network.dtype) == "torch.bfloat16"
"""
    )
    result = warm_project.run("--dtype", "bfloat16", "--attention", "eager", "--device", "cpu")
    assert result.ret == 0
    target = warm_project.record()["target"]
    assert (target["dtype"], target["attention"], target["device"]) == ("bfloat16", "eager", "cpu")


def test_marker_gpu_adds_targets_that_need_cuda(project: Project) -> None:
    project.test_file(TWO)
    result = project.run("--collect-only", "-q", "-m", "gpu")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "test_mine.py::test_hello?mistral-7b-nf4?",
            "test_mine.py::test_empty?mistral-7b-nf4-1?",
            "test_mine.py::test_hello?gpt2-xl?",
        ]
    )
    result.stdout.no_fnmatch_line("*embedded*]")


@pytest.mark.parametrize("expression", ["not gpu", "not slow"])
def test_other_marker_adds_no_targets(warm_project: Project, expression: str) -> None:
    warm_project.test_file(TWO)
    result = warm_project.run("-m", expression)
    assert result.ret == 0
    assert [record["target"]["name"] for record in warm_project.records()] == ["embedded"]


def test_help_shows_every_option_with_its_default(project: Project) -> None:
    result = project.run("--help")
    text = " ".join(result.stdout.str().split())
    kinds = "NAME|FOLDER|HUB-ID|FILE.gguf|ADDRESS"
    assert f"--target={kinds} what to decide claims on; repeatable [embedded]" in text
    assert "--report-dir=FOLDER where records and reports are written [reports, in" in text
    assert "--no-report write no record and no report" in text


def test_markers_are_registered(project: Project) -> None:
    result = project.run("--markers")
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.claim(id, title=..., *",
            "@pytest.mark.needs(name, ...): *",
            "@pytest.mark.gpu: *",
        ]
    )
