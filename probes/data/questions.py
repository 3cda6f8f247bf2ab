"""Questions of fact with their accepted answers: what the claims about knowledge ask.

The built-in ones stand in ``questions.toml`` beside this module; an author names a file of their
own with ``--questions`` or with the key ``questions`` of a target.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from probes._util.jsonfile import shown
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError
from probes.stats.answer_matching import Form, accepted_forms

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILT_IN = Path(__file__).with_name("questions.toml")

FEWEST = 20
"""Questions a file needs: settings are compared by question, and fewer could differ by chance."""

MOST = 300
"""Questions a file may have: all are continued together, and each stands in the evidence."""

Text = Annotated[str, Field(max_length=1000)]


class Question(BaseModel):
    """A question of fact.

    >>> built_in()[0].prompt, built_in()[0].forms
    ('<s> What is the capital of United States? ', (('Washington',),))
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: Text = Field(pattern=r"\S")
    """What the model continues, spelled exactly: a spelled `<s>` comes after the inserted one."""
    accepted: tuple[Text, ...] = Field(min_length=1)
    """Answers that count as right, in any spelling that `answers.states` takes for the same."""
    origin: Text = Field(min_length=1)
    """Where question and answers come from."""

    @field_validator("accepted")
    @classmethod
    def _can_be_told_from_none(cls, accepted: tuple[str, ...]) -> tuple[str, ...]:
        try:
            accepted_forms(accepted)
        except UserError as error:
            raise ValueError(str(error)) from None
        return accepted

    @property
    def forms(self) -> tuple[Form, ...]:
        """The accepted answers as rows of words, to match with."""
        return accepted_forms(self.accepted)


@cache
def built_in() -> tuple[Question, ...]:
    """The questions that come with the package, the published ones first.

    >>> len(built_in()) >= 63
    True
    """
    return read_questions(BUILT_IN)


def asked(file: Path | None = None) -> tuple[Question, ...]:
    """The questions of a target's own file, or the built-in ones.

    Raises:
        UserError: The file cannot be used.

    >>> asked() == built_in()
    True
    """
    return built_in() if file is None else read_questions(file)


def read_questions(file: Path) -> tuple[Question, ...]:
    """The questions a file holds, in its order.

    Raises:
        UserError: The file cannot be read, is not TOML, or holds a question that cannot be asked
            or judged, one twice, or too few of them.
    """
    content = read_toml(file, "questions", "questions and answers")
    refuse_unknown(content, ["group"], f"{file}")
    groups = content.get("group", [])
    if not isinstance(groups, list):
        raise UserError(f"{file}: groups of questions begin with [[group]], in two brackets")
    found = [question for group in groups for question in _group(group, file)]
    for prompt, count in Counter(question.prompt for question in found).items():
        if count > 1:
            raise UserError(f"{file} asks {shown(prompt)} {count} times")
    if not FEWEST <= len(found) <= MOST:
        raise UserError(
            f"{file} asks {len(found)} questions: give {FEWEST} to {MOST}, as fewer could be "
            "answered better at one setting by chance"
        )
    return tuple(found)


def _group(group: Any, file: Path) -> Sequence[Question]:
    if not isinstance(group, dict):
        raise UserError(f"{file}: a group should be a table, got {shown(group)}")
    where = f"{file}: a group of questions"
    refuse_unknown(group, ["origin", "before", "after", "questions"], where)
    for key, kind in (("origin", str), ("questions", dict)):
        if not isinstance(group.get(key), kind):
            raise UserError(f"{where} needs {key}, got {shown(group.get(key))}")
    before, after = group.get("before", ""), group.get("after", "")
    return [
        _question(f"{before}{question}{after}", accepted, group["origin"], file)
        for question, accepted in group["questions"].items()
    ]


def _question(prompt: str, accepted: Any, origin: str, file: Path) -> Question:
    try:
        if not isinstance(accepted, list):
            raise UserError(f"its answers should be a list of texts, got {shown(accepted)}")
        return Question(prompt=prompt, accepted=tuple(accepted), origin=origin)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
        place = str(first["loc"][0])
        raise UserError(f"{file}: {shown(prompt)}: {place}: {problem}") from None
    except UserError as error:
        raise UserError(f"{file}: {shown(prompt)}: {error}") from None
