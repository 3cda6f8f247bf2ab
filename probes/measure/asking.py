"""Ask a target as it is meant to be asked: one of three forms, chosen by facts about the target.

A special token that is spelled in a prompt is a token of one tokenizer, and text to all others. So
the published wording, which spells `<s>`, is kept for Mistral's tokenizer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from probes.data.questions import PLAIN, PUBLISHED
from probes.data.tokenizer_texts import PROMPTS, QUESTION, SPELLED_BOS
from probes.engines.base import Chat, Engine, LogitsEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.data.questions import Question
    from probes.stats.answer_matching import Form


class AskedEngine(LogitsEngine, Chat, Protocol):
    """What questions are asked of; its chat is used only where it has a chat template."""


@dataclass(frozen=True)
class AskedQuestion:
    """A question in the form in which a target is asked."""

    question: Question
    form: str  # `published`, `chat` or `plain`; `file` where the questions' file gives the wording
    prompt: str | tuple[int, ...]  # a text, or token ids

    @property
    def forms(self) -> tuple[Form, ...]:
        """The accepted answers as rows of words, to match with."""
        return self.question.forms


def list_forms(model: Engine) -> tuple[str, ...]:
    """Return the forms in which a target can be asked; the claims use the first.

    `published`: as in the published experiment, with a spelled `<s>`, where the tokenizer is
    Mistral's. `chat`: one user's turn under the target's own chat template, where it has one.
    `plain`: after `Question:` and before `Answer:`, on any target.

    >>> list_forms(load("embedded"))
    ('published', 'chat', 'plain')
    """
    optional = {"published": "mistral-tokenizer", "chat": "chat"}
    has = (form for form, need in optional.items() if model.explain_missing(need) is None)
    return (*has, "plain")


def ask(
    model: AskedEngine, questions: Sequence[Question], form: str | None = None
) -> tuple[AskedQuestion, ...]:
    r"""Return questions as a target is asked them.

    Without a form, the wording of a question's file applies, else the target's first form.

    >>> from probes.data.questions import built_in_questions
    >>> model, questions = load("embedded"), built_in_questions()
    >>> ask(model, questions)[2].prompt, ask(model, questions, "plain")[2].prompt
    ('<s> Who painted the Mona Lisa? ', 'Question: Who painted the Mona Lisa?\nAnswer:')
    """
    chosen = form or list_forms(model)[0]
    return tuple(
        AskedQuestion(each, "file", each.prompt)
        if form is None and each.prompt is not None
        else AskedQuestion(each, chosen, _word(model, each.text, chosen))
        for each in questions
    )


def ask_in_all_forms(
    model: AskedEngine, questions: Sequence[Question]
) -> tuple[tuple[AskedQuestion, ...], ...]:
    """Return questions in each form that a target has: first that of the claims."""
    first = ask(model, questions)
    used = {each.form for each in first}
    others = [form for form in list_forms(model) if form not in used or len(used) > 1]
    return (first, *(ask(model, questions, form) for form in others))


def list_prompts(model: Engine) -> tuple[str, ...]:
    """Return the standard prompts as a target is given them: `<s>` only for Mistral's tokenizer."""
    return tuple(spell_prompt(model, prompt) for prompt in PROMPTS)


def spell_prompt(model: Engine, prompt: str) -> str:
    """Return a prompt, without the `<s>` that it spells where the tokenizer is not Mistral's.

    >>> spell_prompt(load("embedded"), "<s> What is the capital of United States? ")
    '<s> What is the capital of United States? '
    """
    if prompt != SPELLED_BOS or model.explain_missing("mistral-tokenizer") is None:
        return prompt
    return QUESTION


def _word(model: AskedEngine, question: str, form: str) -> str | tuple[int, ...]:
    if form == "chat":
        return tuple(model.encode_chat([{"role": "user", "content": question}]))
    return {"published": PUBLISHED, "plain": PLAIN}[form].format(question)
