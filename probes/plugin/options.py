"""The command-line options, and the places that they name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UserError, did_you_mean
from probes.plugin.session import DEFAULT_TARGET

REPORT_DIR = "reports"
OWN_FOLDER = ".probes"
"""The folder, in the user's project, of what runs leave there besides reports."""

RECORDED_OUTPUTS = f"{OWN_FOLDER}/recorded-outputs"
DEFAULT_SEED = 20231010

JOB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable by which a job on GitHub names the file of its summary."""

JOB = "GITHUB_ACTIONS"
"""The environment variable that is `true` in a job on GitHub."""

TOKEN_BUDGET = "token_budget"

_LOADING_OPTIONS = {
    "quantization": "none, nf4, nf4-double, fp4 or int8: how the linear layers' weights are stored "
    "[the target's own]",
    "dtype": "auto, float32, float16 or bfloat16; of quantized weights the one computed in "
    "[the target's own]",
    "device": "auto, cpu, cuda, cuda:N or mps: where the model runs [the target's own]",
    "revision": "commit, branch or tag of a hub model [the target's own, else the main branch]",
    "attention": "auto, eager, sdpa or another of transformers' names [the target's own]",
}
_FILE_OPTIONS = {
    "words": "TOML file with lists of words in groups, for the claims about meaning "
    "[the target's own, else English and Japanese ones]",
    "questions": "TOML file with questions and answers, for the claims about knowledge "
    "[the target's own, else 66 in English]",
    "corpus": "text file in UTF-8, over which quantized models are compared "
    "[the target's own, else English and Japanese prose]",
}


def add_options(parser: pytest.Parser) -> None:
    """Add the options; a help text ends with the default in brackets."""
    group = parser.getgroup("probes", "claims about language models")

    def add(name: str, metavar: str, text: str, **more: Any) -> None:
        group.addoption(f"--{name}", metavar=metavar, help=text, **more)

    text = f"what to decide claims on; repeatable [{DEFAULT_TARGET}]"
    add("target", "NAME|FOLDER|HUB-ID|FILE.gguf|ADDRESS", text, action="append")
    text = "what targets that a server computes are compared with [the target's own, else nothing]"
    add("reference", "NAME|FOLDER|HUB-ID|FILE.gguf|record.json", text)
    text = "TOML file with [targets.NAME] tables of your own "
    text += "[the project's pyproject.toml, under tool.probes]"
    add("targets-file", "FILE", text, type=Path)
    for name, text in _LOADING_OPTIONS.items():
        add(name, name.upper(), text)
    for name, text in _FILE_OPTIONS.items():
        add(name, "FILE", text)
    add("claim", "ID", "decide this claim alone; repeatable [all]", action="append")
    text = (
        "decide too what takes long: compiled decoding, on a CUDA device; large models saved and "
        "read as a whole, and quantized after use; all quantizations over whole texts; texts past "
        "an attention window of more than 1,024 tokens, on a CPU; measure all throughput"
    )
    group.addoption("--thorough-claims", action="store_true", help=text)
    text = "decide contracts first, then what fits into about this many seconds for each target, "
    text += "most expensive last, and leave out the rest [no limit]"
    add("claim-budget", "SECONDS", text)
    text = "the most tokens to ask of a server, those of prompts included; workers share them "
    text += "[the target's own, else no limit]"
    add("token-budget", "N", text)
    text = f"seed of everything that is drawn; claims must hold under any [{DEFAULT_SEED}]"
    add("seed", "N", text, type=int, default=DEFAULT_SEED)
    text = f"where records and reports are written [{REPORT_DIR}, in the project's folder]"
    add("report-dir", "FOLDER", text, type=Path)
    group.addoption("--no-report", action="store_true", help="write no record and no report")
    text = f"write a summary in Markdown there [none; a job's own, if {JOB_SUMMARY} names it]"
    add("summary", "FILE", text, type=Path)
    text = "compare the run with this one on the same target: a record.json or a folder of runs, "
    text += "whose latest is taken; repeatable, one a target [none]"
    add("baseline", "RECORD", text, action="append", type=Path)
    text = "what counts as a change from the baseline and ends with exit 1, with commas: "
    text += "newly-failing, changed, drifted, fixed, added, removed, not-comparable; or any, none "
    add("fail-on", "OUTCOMES", f"{text}[any]")
    text = "TOML file with [[known-failure]] tables: checks that are known to fail here do not end "
    text += "the run with exit 1, and those that hold now do [none]"
    add("known-failures", "FILE", text, type=Path)
    text = "where recorded outputs of your own targets are "
    text += f"[{RECORDED_OUTPUTS}, in the project's folder]"
    add("recorded-outputs", "FOLDER", text, type=Path)


def list_options() -> dict[str, str]:
    """Return the options and their help texts, in the order of `add_options`."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    options = parser.getgroup("probes").options
    return {name: option.attrs()["help"] for option in options for name in option.names()}


# --- values --------------------------------------------------------------------------------------


def overrides(config: pytest.Config) -> dict[str, str | None]:
    """Return the options that change how every target is loaded or asked."""
    names = [*_LOADING_OPTIONS, *_FILE_OPTIONS, TOKEN_BUDGET]
    return {name: getattr(config.option, name) for name in names}


def selects_gpu(config: pytest.Config) -> bool:
    """Return whether `-m` asks for the marker `gpu`."""
    return re.search(r"(?<!not )\bgpu\b", config.option.markexpr or "") is not None


def project_folder(config: pytest.Config) -> Path:
    """Return the folder of pytest's configuration file, or else the current folder.

    pytest's root folder may differ: with `--target FOLDER` pytest takes FOLDER for one of tests.
    """
    here, ini = config.invocation_params.dir, config.inipath
    return ini.parent if ini is not None and here.is_relative_to(ini.parent) else here


def report_dir(config: pytest.Config) -> Path | None:
    """Return where records and reports are written; None under `--no-report`."""
    return None if config.option.no_report else _place(config, "report_dir", REPORT_DIR)


def recorded_outputs(config: pytest.Config) -> Path:
    """Return where recorded outputs of the user's targets are."""
    return _place(config, "recorded_outputs", RECORDED_OUTPUTS)


def summary_file(config: pytest.Config) -> Path | None:
    """Return the file that `--summary` names."""
    named: Path | None = config.option.summary
    return None if named is None else config.invocation_params.dir / named


def _place(config: pytest.Config, option: str, default: str) -> Path:
    """Return a path: of an option from the current folder, of a default from the project's."""
    named: Path | None = getattr(config.option, option)
    return (
        project_folder(config) / default if named is None else config.invocation_params.dir / named
    )


# --- mistakes ------------------------------------------------------------------------------------


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a user's mistake into pytest's usage error: one line, and exit code 4."""
    try:
        yield
    except UserError as error:
        raise pytest.UsageError(*error.lines) from error


def refuse_configuration_of_targets(config: pytest.Config) -> None:
    """Refuse a configuration file in a target's folder, whose `pythonpath` could run any code.

    Before it knows our options, pytest takes FOLDER in `--target FOLDER` for one of tests.
    """
    here, ini = config.invocation_params.dir.resolve(), config.inipath
    if ini is None or here.is_relative_to(ini.parent.resolve()):
        return
    for name in config.known_args_namespace.target or []:
        if ini.parent.resolve() == (here / name).resolve():
            raise pytest.UsageError(
                f"{ini} would configure pytest, but nothing in a model's folder may: "
                f"remove it, or write --target={name}"
            )


def refuse_unknown_options(parser: pytest.Parser, arguments: Sequence[str]) -> None:
    """Refuse an option that no plugin has, and name one of ours that is spelled like it."""
    _, unknown = parser.parse_known_and_unknown_args([*arguments])
    for word in unknown:
        name = word.partition("=")[0]
        if re.fullmatch(r"-n\d*|--(numprocesses|dist)", name):
            raise pytest.UsageError(
                f"{name} needs the package pytest-xdist, which is not installed: "
                "python -m pip install pytest-xdist"
            )
        hint = did_you_mean(name, list_options()) or ":"
        raise pytest.UsageError(f"no option '{name}'{hint} pytest --help lists all options")


def refuse_conflicts(parser: pytest.Parser, manager: pytest.PytestPluginManager) -> None:
    """Add the options; refuse whatever has defined one of them, or defines one later.

    The refusal is one line that names both, also of a conftest met while tests are collected.
    """

    def check_later(result: Any, hook: str, plugins: Sequence[Any], _: object) -> None:
        if hook == "pytest_addoption" and (option := _find_conflict(result.get_result, parser)):
            is_collecting = manager.has_plugin("session")
            kind = pytest.Collector.CollectError if is_collecting else pytest.UsageError
            result.force_exception(kind(_describe_conflict(plugins[0].plugin_name, option)))

    if option := _find_conflict(lambda: add_options(parser), parser):
        plugins = manager.hook.pytest_addoption.get_hookimpls()
        others = (each for each in plugins if each.function.__module__ != "probes.plugin")
        names = (each.plugin_name for each in others if _defines(each, option, manager))
        definer = next(names, "another plugin")
        raise pytest.UsageError(_describe_conflict(definer, option))
    manager.add_hookcall_monitoring(lambda *_: None, check_later)


def _describe_conflict(definer: str, option: str) -> str:
    way = f"run pytest without one of them, with -p no:{definer} or -p no:probes"
    if definer.endswith("conftest.py"):
        way = "rename it there, or run pytest without the plugin, with -p no:probes"
    return f"{definer} defines the option {option}, which the plugin probes defines too: {way}"


def _defines(plugin: Any, option: str, manager: pytest.PytestPluginManager) -> bool:
    parser = pytest.Parser(_ispytest=True)
    arguments = {"parser": parser, "pluginmanager": manager}
    plugin.function(*(arguments[name] for name in plugin.argnames))
    return _find_conflict(lambda: add_options(parser), parser) == option


def _find_conflict(add: Callable[[], object], parser: pytest.Parser) -> str | None:
    """Return the option of ours that is defined twice after a call; None if none is."""
    try:
        add()
        if pytest.version_tuple < (9,):  # it notices only here
            parser.parse_known_args([])
    except (ValueError, argparse.ArgumentError) as error:
        ours = pytest.Parser(_ispytest=True)
        add_options(ours)
        for option in ours.getgroup("probes").options:
            for name in option.names():
                if re.search(rf"{name}(?![\w-])", str(error)):
                    return name
        raise
    return None
