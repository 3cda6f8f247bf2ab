"""Targets: which model is tested, and how it is to be loaded.

A target is named on the command line by a key of a targets file, by a folder, or by a hub id.
Nothing here looks at a model's files or reaches the network: `probes.targets.preflight` does.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    model_validator,
)

from probes._util.files import DATA, PACKAGE
from probes._util.jsonfile import shown
from probes._util.redaction import Redactor
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError, did_you_mean
from probes.schema.claim import Need

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMBEDDED_FOLDER = PACKAGE / "embedded"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,3}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9_](?!.*\.\.)[A-Za-z0-9._/-]{0,199}")


class Quantization(str, Enum):
    """How the linear layers' weights are stored once loaded."""

    NONE = "none"
    NF4 = "nf4"


class Dtype(str, Enum):
    """The floating-point type of the weights; under NF4, the one that is computed in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Attention(str, Enum):
    """The attention implementation, by transformers' own names."""

    AUTO = "auto"
    EAGER = "eager"
    SDPA = "sdpa"
    FLASH_ATTENTION_2 = "flash_attention_2"
    FLASH_ATTENTION_3 = "flash_attention_3"
    FLEX_ATTENTION = "flex_attention"


DECLARABLE = (
    Need.KNOWLEDGE,
    Need.BOS,
    Need.MISTRAL_TOKENIZER,
    Need.MISTRAL_7B,
    Need.GPT2_XL,
)
"""What a target may say of itself in `provides`; everything else is read off the model."""

_PATHS = ("folder", "random", "words", "questions")
"""Keys that name a file or folder, seen from the targets file."""

_ALLOWED: dict[str, list[str]] = {
    "quantization": [each.value for each in Quantization],
    "dtype": [each.value for each in Dtype],
    "device": ["auto", "cpu", "cuda", "cuda:N", "mps"],
    "attention": [each.value for each in Attention],
    "provides": [each.value for each in DECLARABLE],
}


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _must_match(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"should be {expected}")
        return value

    return AfterValidator(check)


def _is_declarable(need: Need) -> Need:
    if need not in DECLARABLE:
        raise ValueError(
            f"is found out from the model; a target may declare {_listed(_ALLOWED['provides'])}"
        )
    return need


class Target(BaseModel):
    """One model and how to load it: what a claim is decided on.

    >>> target = Target(name="tiny", folder="models/tiny", dtype="bfloat16")
    >>> target.dtype.value, target.device, target.source
    ('bfloat16', 'auto', 'folder')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, _must_match(re.compile(r"[^\x00-\x1f\x7f]{1,200}"), "a printable name")]
    """A key of a targets file, a folder's last part, or a hub id."""
    title: str = ""
    """What it is, in a few words, for readers of a report."""
    folder: Path | None = None
    """A local folder with config, tokenizer and safetensors weights."""
    repository: Annotated[str, _must_match(_REPOSITORY, "a hub id, such as org/model")] | None = (
        None
    )
    """A model on the hub, as `org/model`."""
    revision: Annotated[str, _must_match(_REVISION, "a commit, branch or tag")] | None = None
    """The commit, branch or tag of the repository; none for its main branch."""
    quantization: Quantization = Quantization.NONE
    dtype: Dtype = Dtype.AUTO
    device: Annotated[str, _must_match(_DEVICE, _listed(_ALLOWED["device"]))] = "auto"
    """`auto` leaves the choice to the loading code: a CUDA device if there is one, else the CPU."""
    attention: Attention = Attention.AUTO
    words: Path | None = None
    """A file of word lists to decide the claims about meaning on; none for the built-in lists."""
    questions: Path | None = None
    """A file of questions to decide the claims about knowledge on; none for the built-in ones."""
    random: Path | None = None
    """A configuration, as `config.json` is one, of a network that gets random weights; the folder
    then has its tokenizer alone."""
    provides: tuple[Annotated[Need, AfterValidator(_is_declarable)], ...] = ()
    """What is known of the model and cannot be read off its files."""

    @model_validator(mode="after")
    def _is_possible(self) -> Target:
        if (self.folder is None) == (self.repository is None):
            raise ValueError("should have either a folder or a repository")
        if self.random is not None and self.folder is None:
            raise ValueError("with random weights should have a folder, which has its tokenizer")
        if self.folder is not None and self.revision is not None:
            raise ValueError(
                f"cannot have a revision ({self.revision}), as it is a folder: "
                "leave the revision out, or name a model on the hub, as org/model"
            )
        if self.attention.value.startswith("flash"):
            self._refuse_flash_attention_where_it_cannot_run()
        return self

    def _refuse_flash_attention_where_it_cannot_run(self) -> None:
        if self.device in ("cpu", "mps"):
            raise ValueError(
                f"cannot use {self.attention.value} on device {self.device}: "
                "choose device cuda, or attention sdpa or eager"
            )
        if self.dtype is Dtype.FLOAT32:
            raise ValueError(
                f"cannot use {self.attention.value} in float32: "
                "choose dtype float16 or bfloat16, or attention sdpa or eager"
            )

    @property
    def source(self) -> Literal["embedded", "folder", "hub"]:
        """Where the model comes from: this package, a folder, or the hub."""
        if self.folder is None:
            return "hub"
        return "embedded" if _same_folder(self.folder, EMBEDDED_FOLDER) else "folder"


def resolve(
    text: str,
    *,
    targets_file: Path | None = None,
    project: Path | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Target:
    """The target that a text on the command line names, with the options of the command line.

    A name is looked up in the user's targets file, then in `[tool.probes.targets]` of the
    project's `pyproject.toml`, then among the built-in targets. Any other text is a folder if
    there is one, or else a hub id if it is shaped like `org/model`.

    Args:
        text: A target's name, a folder or a hub id.
        targets_file: The user's own file of `[targets.NAME]` tables.
        project: The folder whose `pyproject.toml` may define targets.
        overrides: Values of the options `quantization`, `dtype`, `device`, `revision`,
            `attention`, `words` and `questions`, None where an option was not given.

    Raises:
        UserError: No such target, a malformed file, a value or a combination that cannot be.

    >>> resolve("embedded", overrides={"dtype": "float16"}).dtype.value
    'float16'
    >>> resolve("embeded")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    probes.errors.UserError: no target 'embeded'; did you mean 'embedded'? Known targets: ...
    """
    known = known_targets(targets_file=targets_file, project=project)
    target = known.get(text) or _from_folder(text, known) or _from_hub_id(text, known)
    if target is None:
        raise UserError(_no_such_target(text, known))
    return _override(target, overrides or {})


def known_targets(
    *, targets_file: Path | None = None, project: Path | None = None
) -> dict[str, Target]:
    """All targets that have a name: the built-in ones, the project's, the user's file's.

    Where two have the same name, the later in that order counts.

    >>> list(known_targets())
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
    return read_targets_file(DATA / "targets.toml")


def read_targets_file(file: Path) -> dict[str, Target]:
    """The targets that a file's `[targets.NAME]` tables define; its folders are relative to it.

    Raises:
        UserError: The file cannot be read, is not TOML, or holds an unknown key or a wrong value.
    """
    content = read_toml(file, "targets", "[targets.NAME] tables")
    refuse_unknown(content, ["targets"], f"{file}")
    return _targets_in(content.get("targets", {}), file, "targets")


def read_pyproject(file: Path) -> dict[str, Target]:
    """The targets that a `pyproject.toml` defines in `[tool.probes.targets.NAME]` tables.

    Raises:
        UserError: As for `read_targets_file`.
    """
    tool = read_toml(file, "targets", "[targets.NAME] tables").get("tool", {})
    ours = tool.get("probes", {}) if isinstance(tool, dict) else {}
    if not isinstance(ours, dict):
        raise UserError(f"{file}: [tool.probes] should be a table, got {shown(ours)}")
    refuse_unknown(ours, ["targets"], f"{file}: [tool.probes]")
    return _targets_in(ours.get("targets", {}), file, "tool.probes.targets")


def _targets_in(tables: Any, file: Path, section: str) -> dict[str, Target]:
    if not isinstance(tables, dict):
        raise UserError(f"{file}: [{section}] should hold one table a target, [{section}.NAME]")
    return {name: _target_in(name, table, file, section) for name, table in tables.items()}


def _target_in(name: str, table: Any, file: Path, section: str) -> Target:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{file}: a target cannot be called {shown(name)}: its name starts with a letter or "
            "digit and goes on with letters, digits, dots, hyphens and underscores"
        )
    where = f"{file}: [{section}.{name}]"
    if not isinstance(table, dict):
        raise UserError(f"{where} should be a table, got {shown(table)}")
    refuse_unknown(table, [key for key in Target.model_fields if key != "name"], where)
    try:
        target = Target(name=name, **table)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_problem(error)}") from None
    paths = {
        "folder": target.folder,
        "random": target.random,
        "words": target.words,
        "questions": target.questions,
    }
    return target.model_copy(
        update={
            key: Path(os.path.normpath(file.parent / _expanded(path)))
            for key, path in paths.items()
            if path
        }
    )


def _first_problem(error: ValidationError, option: str = "") -> str:
    first = error.errors(include_url=False)[0]
    problem = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return problem
    key, value = str(first["loc"][0]), first["input"]
    problem = problem.replace("Input should be", "should be")
    hint = did_you_mean(value, _ALLOWED.get(key, [])) if isinstance(value, str) else ""
    return f"{option}{key} {shown(value)} {problem}{hint}"


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError:
        return folder


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):
        return False


def _same_folder(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _from_folder(text: str, known: Mapping[str, Target]) -> Target | None:
    folder = _expanded(Path(text))
    if not text or not _is_folder(folder):
        return None
    same = [
        target for target in known.values() if target.folder and _same_folder(target.folder, folder)
    ]
    return _described(
        # It stands in every record, in the name of a folder and in those of tests.
        name=Redactor.of_secrets().text(folder.resolve().name) or "root",
        folder=folder,
        provides=same[0].provides if same else (),
    )


def _from_hub_id(text: str, known: Mapping[str, Target]) -> Target | None:
    if "/" not in text or not _REPOSITORY.fullmatch(text):
        return None
    same = [
        target
        for target in known.values()
        if target.repository and target.repository.lower() == text.lower()
    ]
    return _described(name=text, repository=text, provides=same[0].provides if same else ())


def _described(**fields: Any) -> Target:
    try:
        return Target(**fields)
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


def _no_such_target(text: str, known: Mapping[str, Target]) -> str:
    path = _expanded(Path(text))
    if _is_file(path):
        return f"target {shown(text)} is a file: name the folder that holds it"
    what = "folder" if re.search(r"[/\\~]", text) else "target"
    return (
        f"no {what} {shown(text)}{did_you_mean(text, known) or '.'} Known targets: "
        f"{', '.join(known)}; a folder is named by its path, a model on the hub as org/model"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _override(target: Target, overrides: Mapping[str, str | None]) -> Target:
    given = {key: value for key, value in overrides.items() if value is not None}
    if not given:
        return target
    try:
        return Target.model_validate(target.model_dump() | given)
    except ValidationError as error:
        if error.errors()[0]["loc"]:
            raise UserError(_first_problem(error, option="--")) from None
        raise UserError(f"target '{target.name}' {_first_problem(error)}") from None
