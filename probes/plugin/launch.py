"""Decide the built-in claims from any folder, with pytest's options and none of its files.

pytest reads no `pytest.ini`, `pyproject.toml`, `tox.ini`, `setup.cfg` or `conftest.py` in or above
the current folder, and neither `PYTEST_ADDOPTS` nor `PYTEST_PLUGINS`. This module is a plugin,
which a run names with `-p`: its hooks make pytest collect the claims, and take positional arguments
as targets. xdist's workers load it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from probes._util.files import claims_folder
from probes.plugin.controller import Controller
from probes.plugin.options import OWN_FOLDER, refuse_unknown_options
from probes.plugin.terminal import NEXT_STEP
from probes.results.reading import RECORD_FILE

_CONFIGURATION = Path(__file__).with_name("claims.ini")
_IGNORED_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


_NEXT_STEP = (
    "next, your own: probes run path/to/folder (or org/model, FILE.gguf, http://HOST/v1#MODEL); "
    "options: pytest --help"
)


@dataclass(frozen=True)
class RunResult:
    """The result of a run: pytest's exit code, and the path of each target's `record.json`.

    The exit code is 0 where every claim that could be decided holds. The report is beside it.
    """

    exit_code: int
    records: tuple[Path, ...]


def run(*targets: str | os.PathLike[str], options: Sequence[str] = ()) -> RunResult:
    """Decide the built-in claims on targets, as `probes run` does.

    Targets are names, folders or hub ids; by default the embedded model. Options are `pytest`'s.

    >>> import probes
    >>> quiet = ["-p", "no:terminal", "--no-report"]
    >>> probes.run("embedded", options=["--claim", "vocab-size", *quiet])
    RunResult(exit_code=0, records=())
    """
    folder = str(claims_folder())
    words = [
        *(os.fspath(target) for target in targets),
        *("-p", __name__, "--config-file", str(_CONFIGURATION)),
        *("-p", "no:benchmark"),  # pytest-benchmark would leave an empty folder
        *("--rootdir", folder, "--confcutdir", folder),
        *("-o", f"cache_dir={Path.cwd() / OWN_FOLDER / 'cache'}"),
        *options,
    ]
    records = _Records()
    with _hidden_variables(*_IGNORED_VARIABLES):
        code = pytest.main(words, plugins=[records])
    return RunResult(int(code), tuple(records.paths))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Load the conftest of the claims, and none beside a target or in the current folder."""
    refuse_unknown_options(parser, args)
    early_config.known_args_namespace.file_or_dir = [str(claims_folder())]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take the positional arguments as targets, and collect the claims instead."""
    option, folder = config.option, str(claims_folder())
    named = getattr(option, "file_or_dir", [])  # -h ends parsing before them
    positional = [argument for argument in named if argument != folder]
    option.target = [*positional, *(option.target or [])]
    if not option.target:
        config.stash[NEXT_STEP] = _NEXT_STEP
    option.file_or_dir = config.args = [folder]
    set_hypothesis_home_dir(Path.cwd() / OWN_FOLDER / "hypothesis")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what a run is about that names no target."""
    if NEXT_STEP not in config.stash:
        return None
    return "no target is named: the claims are decided on the tiny model of this package"


class _Records:
    """A plugin that remembers where a run wrote its records."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        controller = config.pluginmanager.get_plugin(Controller.NAME)
        if isinstance(controller, Controller):
            self.paths += [folder / RECORD_FILE for folder in controller.run.folders.values()]


@contextmanager
def _hidden_variables(*names: str) -> Iterator[None]:
    """Remove environment variables for a while."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
