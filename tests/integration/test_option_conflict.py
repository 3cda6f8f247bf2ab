from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--device", {arguments})
"""


@pytest.mark.parametrize("arguments", ["default='cpu'", "dest='device', default='cpu'"])
def test_conftest_that_defines_our_option_is_refused(project: Project, arguments: str) -> None:
    conftest = project.folder / "conftest.py"
    conftest.write_text(CONFTEST.format(arguments=arguments), encoding="utf-8")
    project.test_file("def test_of_no_claim():\n    pass\n")
    result = project.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        f"ERROR: {conftest} defines the option --device, which the plugin probes defines too: "
        "rename it there, or run pytest without the plugin, with -p no:probes"
    ]
    assert project.run_apart("-p", "no:probes").ret == 0


def test_other_mistakes_of_a_conftest_are_shown_as_they_are(project: Project) -> None:
    text = "def pytest_addoption(parser):\n    raise ValueError('some --devices')\n"
    (project.folder / "conftest.py").write_text(text, encoding="utf-8")
    result = project.run_apart()
    assert result.ret != 0
    assert "ValueError: some --devices" in result.stderr.str() + result.stdout.str()
