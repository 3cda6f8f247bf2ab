"""Find a target by its name in a targets file, by its folder, or by its hub id.

Nothing here reads a model's files or reaches the network: `probes.targets.preflight` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from probes._util.files import DATA
from probes._util.redaction import Redactor
from probes._util.text import quote
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError, did_you_mean
from probes.schema.base import format_validation_error
from probes.targets.target import ALLOWED_VALUES, HUB_ID, Target

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_PATHS = ("folder", "gguf", "random", "words", "questions", "corpus")
"""Keys whose value is a path relative to the targets file."""


def resolve(
    text: str,
    *,
    targets_file: Path | None = None,
    project: Path | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Target:
    """Find the target that a command line names, and apply the options given with it.

    A name is looked up in the user's targets file, then in `[tool.probes.targets]` of the
    `pyproject.toml` in the folder `project`, then among the built-in targets. Any other text is a
    folder or a GGUF file if there is one, an address if it begins like one, or else a hub id if it
    has the form `org/model`. `overrides` are the values by option. What cannot be found or combined
    raises UserError.

    >>> resolve("embedded", overrides={"dtype": "float16"}).dtype.value
    'float16'
    """
    known = list_targets(targets_file=targets_file, project=project)
    target = (
        known.get(text)
        or _from_address(text)
        or _from_gguf(text)
        or _from_folder(text, known)
        or _from_hub_id(text, known)
    )
    if target is None:
        raise UserError(_explain_unknown(text, known))
    return _override(target, overrides or {})


def list_targets(
    *, targets_file: Path | None = None, project: Path | None = None
) -> dict[str, Target]:
    """Return all named targets: the built-in ones, the project's, those of the user's file.

    Of two with the same name the later in that order counts.

    >>> list(list_targets())
    ['embedded', 'mistral-7b-nf4', 'mistral-7b-fp16', 'gpt2-xl', 'mistral-7b-random']
    """
    known = dict(_built_in())
    if project is not None and (project / "pyproject.toml").is_file():
        known |= read_pyproject(project / "pyproject.toml")
    if targets_file is not None:
        known |= read_targets_file(targets_file)
    return known


@cache
def _built_in() -> Mapping[str, Target]:
    return {
        name: target.model_copy(update={"folder": target.folder and target.folder.resolve()})
        for name, target in read_targets_file(DATA / "targets.toml").items()
    }


def read_targets_file(file: Path) -> dict[str, Target]:
    """Read the `[targets.NAME]` tables of a file; its folders are relative to it."""
    content = read_toml(file)
    refuse_unknown(content, ["targets"], f"{file}")
    return _read_tables(content.get("targets", {}), file, "targets")


def read_pyproject(file: Path) -> dict[str, Target]:
    """Read the `[tool.probes.targets.NAME]` tables of a `pyproject.toml`."""
    tool = read_toml(file).get("tool", {})
    ours = tool.get("probes", {}) if isinstance(tool, dict) else {}
    if not isinstance(ours, dict):
        raise UserError(f"{file}: [tool.probes] should be a table, got {quote(ours)}")
    refuse_unknown(ours, ["targets"], f"{file}: [tool.probes]")
    return _read_tables(ours.get("targets", {}), file, "tool.probes.targets")


def _read_tables(tables: Any, file: Path, section: str) -> dict[str, Target]:
    if not isinstance(tables, dict):
        raise UserError(f"{file}: [{section}] should hold one table a target, [{section}.NAME]")
    return {name: _read_table(name, table, file, section) for name, table in tables.items()}


def _read_table(name: str, table: Any, file: Path, section: str) -> Target:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{file}: a target cannot be called {quote(name)}: its name starts with a letter or "
            "digit and goes on with letters, digits, dots, hyphens and underscores"
        )
    where = f"{file}: [{section}.{name}]"
    if not isinstance(table, dict):
        raise UserError(f"{where} should be a table, got {quote(table)}")
    refuse_unknown(table, [key for key in Target.model_fields if key != "name"], where)
    try:
        target = Target(name=name, **table)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(error)}") from None
    paths = {key: getattr(target, key) for key in _PATHS if getattr(target, key)}
    return target.model_copy(
        update={key: file.parent / _expand_user(path) for key, path in paths.items()}
    )


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key, value = str(first["loc"][0]) if first["loc"] else "", first["input"]
    hint = did_you_mean(value, ALLOWED_VALUES.get(key, [])) if isinstance(value, str) else ""
    return format_validation_error(error) + hint


# os.path takes any text for a path; pathlib raises where a name is too long or a user unknown.
def _expand_user(path: Path | str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _from_folder(text: str, known: Mapping[str, Target]) -> Target | None:
    folder = _expand_user(text)
    if not text or not os.path.isdir(folder):  # noqa: PTH112
        return None
    # The name is part of every record, and of names of folders and tests.
    name = Redactor.for_secrets().redact_text(folder.resolve().name) or "root"
    same = [t for t in known.values() if t.folder and t.folder.resolve() == folder.resolve()]
    return _make(name=name, folder=folder, **_same_as(same))


def _from_address(text: str) -> Target | None:
    """Take a text as an endpoint's address, with the name of a model after a # if there is one."""
    if not re.match(r"(?i)https?://", text):
        return None
    address, _, model = text.partition("#")
    try:
        host = urlsplit(address).netloc.rpartition("@")[2]
    except ValueError:  # the target refuses it
        host = ""
    return _make(name=model or host or "endpoint", address=address, served_model=model or None)


def _is_gguf(text: str) -> bool:
    return text.lower().endswith(".gguf")


def _from_gguf(text: str) -> Target | None:
    file = _expand_user(text)
    if not _is_gguf(text) or not os.path.isfile(file):  # noqa: PTH113
        return None
    return _make(name=Redactor.for_secrets().redact_text(file.name), gguf=file)


def _from_hub_id(text: str, known: Mapping[str, Target]) -> Target | None:
    if "/" not in text or _is_gguf(text) or not HUB_ID.fullmatch(text):
        return None
    same = [t for t in known.values() if (t.repository or "").lower() == text.lower()]
    return _make(name=text, repository=text, **_same_as(same))


def _same_as(known: Sequence[Target]) -> dict[str, Any]:
    """Return what is declared of the first of some targets of the same model."""
    return {"provides": known[0].provides, "expects": known[0].expects} if known else {}


def _make(**fields: Any) -> Target:
    try:
        return Target(**fields)
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def _explain_unknown(text: str, known: Mapping[str, Target]) -> str:
    if os.path.isfile(_expand_user(text)):  # noqa: PTH113
        return f"target {quote(text)} is a file: name the folder that holds it"
    if _is_gguf(text):
        return f"no file {quote(text)}{did_you_mean(text, known)}"
    what = "folder" if re.search(r"[/\\~]", text) else "target"
    return (
        f"no {what} {quote(text)}{did_you_mean(text, known) or '.'} Known targets: "
        f"{', '.join(known)}; a folder is named by its path, a model on the hub as org/model"
    )


def _override(target: Target, overrides: Mapping[str, str | None]) -> Target:
    options = {key: value for key, value in overrides.items() if value is not None}
    if not options:
        return target
    try:
        return Target.model_validate(target.model_dump() | options)
    except ValidationError as error:
        about_option = error.errors()[0]["loc"]
        if about_option:
            key = str(error.errors()[0]["loc"][0])
            option = key.replace("_", "-")
            raise UserError(f"--{_explain(error).replace(key, option, 1)}") from None
        raise UserError(f"target '{target.name}' {_explain(error)}") from None
