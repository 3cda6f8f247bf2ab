from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from probes.plugin.watch import is_watched


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal as this process's output, outside continuous integration."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("os.isatty", lambda descriptor: descriptor == 1)


def config(reporter: object, **options: Any) -> pytest.Config:
    usual = {"verbose": 0, "capture": "fd", "usepdb": False, "trace": False, "numprocesses": None}
    plugins = SimpleNamespace(getplugin={"terminalreporter": reporter}.get)
    made = SimpleNamespace(pluginmanager=plugins, option=SimpleNamespace(**usual | options))
    return cast("pytest.Config", made)


REPORTER = SimpleNamespace(isatty=True)


def test_terminal_is_watched() -> None:
    assert is_watched(config(REPORTER))
    assert is_watched(config(REPORTER, verbose=2))


@pytest.mark.parametrize(
    "options",
    [{"verbose": -1}, {"capture": "no"}, {"usepdb": True}, {"trace": True}, {"numprocesses": 2}],
    ids=lambda options: next(iter(options)),
)
def test_option_that_progress_would_disturb_turns_it_off(options: dict[str, Any]) -> None:
    assert not is_watched(config(REPORTER, **options))


@pytest.mark.parametrize(
    ("name", "value"), [("CI", "true"), ("BUILD_NUMBER", "7"), ("TERM", "dumb")]
)
def test_variable_turns_progress_off(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert not is_watched(config(REPORTER))


@pytest.mark.parametrize("reporter", [None, SimpleNamespace(isatty=False)])
def test_file_or_pipe_is_not_watched(reporter: object) -> None:
    assert not is_watched(config(reporter))
