"""Questions of fact with their accepted answers, for the claims about knowledge.

The built-in ones are in ``questions.toml``; a target or ``--questions`` names another file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from probes._util.files import DATA
from probes._util.text import quote
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError
from probes.schema.base import format_validation_error
from probes.stats.answer_matching import Form, accepted_forms

FEWEST = 20
"""Questions a file needs: settings are compared by question, and fewer could differ by chance."""

MOST = 300
"""Questions a file may have: all are continued together, and each is part of the evidence."""

PUBLISHED = "<s> {} "
"""The wording of the published experiment: the spelled `<s>` comes after the one that Mistral's
tokenizer inserts, and the space after the question mark is a separate token."""

PLAIN = "Question: {}\nAnswer:"
"""One wording for all models without a chat template."""

Text = Annotated[str, Field(max_length=1000)]


class Question(BaseModel):
    """A question of fact.

    >>> built_in_questions()[0].text, built_in_questions()[0].forms
    ('What is the capital of United States?', (('Washington',),))
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    text: Text = Field(pattern=r"\S")
    """The question itself."""
    prompt: Text | None = None
    """What the model continues, where the file words it; else in the form that suits the target."""
    accepted: tuple[Text, ...] = Field(min_length=1)
    """Answers that count as right, in any spelling that answer matching treats as equal."""
    origin: Text = Field(min_length=1)
    """Where question and answers come from."""

    @field_validator("accepted")
    @classmethod
    def _check_forms(cls, accepted: tuple[str, ...]) -> tuple[str, ...]:
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
def built_in_questions() -> tuple[Question, ...]:
    """Return the questions of the package, the published ones first."""
    return read_questions(DATA / "questions.toml")


def load_questions(file: Path | None = None) -> tuple[Question, ...]:
    """Return the questions of a target's own file, or the built-in ones."""
    return built_in_questions() if file is None else read_questions(file)


def read_questions(file: Path) -> tuple[Question, ...]:
    """Read the questions of a file, in its order; refuse bad ones, repeated ones and too few."""
    content = read_toml(file)
    refuse_unknown(content, ["group"], f"{file}")
    groups = content.get("group", [])
    if not isinstance(groups, list):
        raise UserError(f"{file}: groups of questions begin with [[group]], in two brackets")
    questions = [question for group in groups for question in _read_group(group, file)]
    for asked, count in Counter(each.prompt or each.text for each in questions).items():
        if count > 1:
            raise UserError(f"{file} asks {quote(asked)} {count} times")
    if not FEWEST <= len(questions) <= MOST:
        raise UserError(
            f"{file} asks {len(questions)} questions: give {FEWEST} to {MOST}, as fewer could be "
            "answered better at one setting by chance"
        )
    return tuple(questions)


def _read_group(group: Any, file: Path) -> Sequence[Question]:
    if not isinstance(group, dict):
        raise UserError(f"{file}: a group should be a table, got {quote(group)}")
    where = f"{file}: a group of questions"
    refuse_unknown(group, ["origin", "before", "after", "questions"], where)
    for key, kind in (("origin", str), ("questions", dict)):
        if not isinstance(group.get(key), kind):
            raise UserError(f"{where} needs {key}, got {quote(group.get(key))}")
    before, after = group.get("before", ""), group.get("after", "")
    is_worded = not group.keys().isdisjoint({"before", "after"})
    return [
        _read_question(
            question, f"{before}{question}{after}" if is_worded else None, accepted, group, file
        )
        for question, accepted in group["questions"].items()
    ]


def _read_question(
    text: str, prompt: str | None, accepted: Any, group: dict[str, Any], file: Path
) -> Question:
    where = f"{file}: {quote(prompt or text)}"
    if not isinstance(accepted, list):
        raise UserError(f"{where}: its answers should be a list of texts, got {quote(accepted)}")
    try:
        return Question(text=text, prompt=prompt, accepted=tuple(accepted), origin=group["origin"])
    except ValidationError as error:
        raise UserError(f"{where}: {format_validation_error(error)}") from None
