from __future__ import annotations

import pytest

from tests.support.project import Project

DEFINES = "def pytest_addoption(parser):\n    parser.addoption('--device', {})\n"
MESSAGE = "{} defines the option --device, which the plugin probes defines too: {}"
IN_A_CONFTEST = "rename it there, or run pytest without the plugin, with -p no:probes"
IN_A_PLUGIN = "run pytest without one of them, with -p no:other or -p no:probes"


@pytest.mark.parametrize(
    ("file", "options", "arguments"),
    [
        ("conftest.py", [], "default='cpu'"),
        ("conftest.py", [], "dest='device', default='cpu'"),
        ("other.py", ["-p", "other"], "default='cpu'"),
        ("other.py", ["-p", "probes.plugin", "-p", "other"], "default='cpu'"),
    ],
    ids=["conftest", "conftest with dest", "plugin before", "plugin after"],
)
def test_option_defined_twice_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, file: str, options: list[str], arguments: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project.folder))
    (project.folder / file).write_text(DEFINES.format(arguments), encoding="utf-8")
    project.test_file("def test_of_no_claim():\n    pass\n")
    result = project.run_apart(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    expected = MESSAGE.format("other", IN_A_PLUGIN)
    if file == "conftest.py":
        expected = MESSAGE.format(project.folder / file, IN_A_CONFTEST)
    assert [line for line in result.errlines if line] == [f"ERROR: {expected}"]


def test_option_of_a_conftest_below_is_refused(project: Project) -> None:
    (project.folder / "below").mkdir()
    conftest = project.folder / "below" / "conftest.py"
    conftest.write_text(DEFINES.format("default='cpu'"), encoding="utf-8")
    project.test_file("def test_of_no_claim():\n    pass\n", name="below/test_mine.py")
    result = project.run_apart()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert MESSAGE.format(conftest, IN_A_CONFTEST) in result.outlines
    assert "Traceback" not in result.stdout.str()
    assert project.run_apart("-p", "no:probes").ret == 0


def test_other_mistakes_of_a_conftest_are_shown_as_they_are(project: Project) -> None:
    text = "def pytest_addoption(parser):\n    raise ValueError('some --devices')\n"
    (project.folder / "conftest.py").write_text(text, encoding="utf-8")
    result = project.run_apart()
    assert result.ret != 0
    assert "ValueError: some --devices" in result.stderr.str() + result.stdout.str()
