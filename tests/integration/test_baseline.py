from __future__ import annotations

from tests.support.project import Project

NUMBER = """
@pytest.mark.claim("number", title="A number.")
def test_number(model, evidence):
    evidence["number"] = {number}
    model.encode("Hello")

@pytest.mark.claim("other", title="Another claim.")
def test_other(model):
    model.encode("Hello")
"""


def first_run(project: Project, number: float = 0.5) -> str:
    project.test_file(NUMBER.format(number=number))
    assert project.run("--report-dir", "first").ret == 0
    return "first/embedded"


def test_baseline_change_is_reported_with_exit_1(warm_project: Project) -> None:
    baseline = first_run(warm_project)
    result = warm_project.run("--baseline", baseline, "--report-dir", "same")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["Against the baseline", "*", "Nothing changed (claims: 2)."])
    warm_project.test_file(NUMBER.format(number=0.7))
    result = warm_project.run("--baseline", baseline, "--summary", "s.md")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["drifted: number: holds", "1 drifted, 1 same."])
    (report,) = (warm_project.folder / "reports").glob("*/*/report.html")
    assert 'id="baseline"' in report.read_text(encoding="utf-8")
    assert "1 drifted" in (warm_project.folder / "s.md").read_text(encoding="utf-8")


def test_baseline_follows_other_options(warm_project: Project) -> None:
    baseline = first_run(warm_project)
    warm_project.test_file(NUMBER.format(number=0.7))
    for options, code in (
        (("--fail-on", "newly-failing"), 0),
        (("--claim", "other"), 0),  # a claim that is not selected is not missing
        (("--no-report",), 1),
        (("--report-dir", "first"), 1),  # the latest run of the folder is the one before
    ):
        result = warm_project.run("--baseline", baseline, *options)
        assert result.ret == code
        changed = "drifted: number: holds" in result.outlines
        assert changed == ("--claim" not in options)


def test_next_run_says_what_changed_since_the_last(warm_project: Project) -> None:
    first_run(warm_project)
    same = warm_project.run("--report-dir", "first")
    same.stdout.fnmatch_lines(["Nothing changed since * UTC: 2 the same.", "report: *"])
    warm_project.test_file(NUMBER.format(number=0.7))
    for options in ((), ("-n", "2")):
        result = warm_project.run("--report-dir", "first", "--summary", "s.md", *options)
        assert result.ret == 0
        line = "Since * UTC*: 1 drifted: number; 1 the same."
        full = "in full: probes compare first/embedded/* first/embedded/*"
        result.stdout.fnmatch_lines([line, full, "report: *"])
        assert "1 drifted" in (warm_project.folder / "s.md").read_text(encoding="utf-8")
        warm_project.test_file(NUMBER.format(number=0.9))
    reports = sorted((warm_project.folder / "first").glob("*/*/report.html"))
    assert ['id="since"' in file.read_text(encoding="utf-8") for file in reports] == [
        False,
        True,
        True,
        True,
    ]


def test_only_runs_in_a_report_folder_are_compared_unasked(warm_project: Project) -> None:
    baseline = first_run(warm_project)
    for options in (
        ("--no-report",),
        ("--report-dir", "other"),
        ("--report-dir", "first", "--baseline", baseline),
    ):
        result = warm_project.run(*options)
        assert result.ret == 0
        result.stdout.no_fnmatch_line("*since*")


def test_damaged_last_run_is_noted(warm_project: Project) -> None:
    baseline = first_run(warm_project)
    for file in (warm_project.folder / baseline).glob("*/record.json"):
        file.write_text("{", encoding="utf-8")
    result = warm_project.run("--report-dir", "first")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["not compared with the last run: *record.json is truncated *"])


def test_unusable_baseline_is_refused(warm_project: Project) -> None:
    baseline = first_run(warm_project)
    text = next((warm_project.folder / baseline).glob("*/record.json")).read_text(encoding="utf-8")
    other = warm_project.folder / "other.json"
    other.write_text(text.replace('"name": "embedded"', '"name": "gpt2-xl"'), encoding="utf-8")
    for arguments, line in (
        (("--baseline", "nowhere"), "ERROR: no record at *nowhere*"),
        (
            ("--baseline", "other.json"),
            "ERROR: the baseline 'other.json' is a run on 'gpt2-xl', and this one is on "
            "'embedded': name a run on the same target",
        ),
        (
            ("--baseline", baseline, "--baseline", baseline),
            "ERROR: two baselines are runs on 'embedded': name one a target",
        ),
        (
            ("--fail-on", "changed"),
            "ERROR: --fail-on says what counts as a change from a --baseline: name one",
        ),
        (
            ("--baseline", baseline, "--fail-on", "canged"),
            "ERROR: --fail-on: no outcome 'canged'; did you mean 'changed'? choose among *",
        ),
    ):
        result = warm_project.run(*arguments)
        assert result.ret == 4
        result.stderr.fnmatch_lines([line])
