"""Conversations under a chat template: as transformers renders them, and as the template says."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers
from packaging.version import Version

from probes.data.conversations import CONVERSATIONS, Conversation
from probes.engines.transformers.chat_dates import fix_date
from probes.measure.own_template import RefusedError, leave_open, read_own_template
from probes.schema.recorded_chat import RecordedChat, show_difference
from probes.stats.near_tie import Finding, OutputStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Tokenization
    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.own_template import OwnTemplate


_KEEPS_SPACES = Version("4.47")
"""The first transformers that leaves the spaces at the end of a begun answer."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text."""

    conversation: str
    """Its name."""
    prompt: bool
    """Whether the prompt for an answer is at its end."""
    text: str | None = None
    """As `apply_chat_template` renders it; None if it refuses."""
    own: str | None = None
    """As the template in the model's folder renders it; None if that refuses."""
    refusal: str = ""
    """Why one of them refuses."""

    @property
    def name(self) -> str:
        """What it is, for a message."""
        return self.conversation + (", and the prompt for an answer" if self.prompt else "")

    @property
    def is_begun(self) -> bool:
        """Whether it ends with the beginning of an answer."""
        return CONVERSATIONS[self.conversation].is_begun

    @property
    def is_used(self) -> bool:
        """Whether a model would be given it so: with the prompt where an answer is to come."""
        return self.prompt is CONVERSATIONS[self.conversation].awaits_answer

    def complain(self) -> str:
        """Describe where the rendered text is not what the template says; else empty."""
        if self.own is None or self.text == self.own:
            return ""
        if self.text is None:
            return f"{self.name}: refused ({self.refusal}), though its own template renders it"
        found = show_difference(self.own, self.text)
        return f"{self.name}: not rendered as its own template says, {found}"


def render_chats(model: TransformersEngine) -> list[RenderedChat]:
    """Render every conversation; those that await an answer without and with the prompt for it.

    Raises:
        ImportError: there is no jinja2 that transformers can use.

    >>> chats = render_chats(load("embedded"))
    >>> chats[1].name, chats[1].complain()
    ('a question, and the prompt for an answer', '')
    >>> chats[1].text
    '<s>[INST] Who painted the Mona Lisa? [/INST][ANSWER]'
    """
    own = read_own_template(model)
    return [
        render_chat(model, own, name, conversation, prompt=prompt)
        for name, conversation in CONVERSATIONS.items()
        for prompt in ((False, True) if conversation.awaits_answer else (False,))
    ]


def render_chat(
    model: TransformersEngine,
    own: OwnTemplate,
    name: str,
    conversation: Conversation,
    *,
    prompt: bool,
) -> RenderedChat:
    """Render a conversation by transformers, and by the template in the model's folder."""
    text, expected, refusal = None, None, ""
    try:
        expected = own.render(conversation, prompt=prompt)
    except RefusedError as error:
        refusal = str(error)
    try:
        text = _render_by_library(model, conversation, prompt=prompt)
        if expected is None and conversation.is_begun:  # then from the library's whole answers
            expected = leave_open(
                conversation, lambda whole: _render_by_library(model, whole, prompt=prompt)
            )
    except RefusedError as error:
        refusal = str(error)
    if text is not None and expected is not None and conversation.is_begun:
        # Where a template drops the spaces at an answer's end, the library may keep them.
        spaces = conversation.answer[len(conversation.answer.rstrip()) :]
        expected = text if text == expected.rstrip() + spaces else expected
    return RenderedChat(name, prompt, text, expected, refusal)


def _render_by_library(
    model: TransformersEngine, conversation: Conversation, *, prompt: bool
) -> str:
    try:
        return str(apply_template(model, [conversation], prompt=prompt, tokenize=False))
    except ImportError:
        raise
    except Exception as error:  # a template may fail in any way
        raise RefusedError(f"{type(error).__name__}: {error}") from error


def apply_template(
    model: TransformersEngine,
    conversations: Sequence[Conversation],
    *,
    prompt: bool,
    **arguments: Any,
) -> Any:
    """Return what `apply_chat_template` returns for one conversation, or for several in a batch.

    Those of a batch have the same tools, and all of them or none has a begun answer.
    """
    messages: Any = [deepcopy(list(each.messages)) for each in conversations]
    first, tokenizer = conversations[0], model.tokenizer
    tools: Any = deepcopy(list(first.tools)) or None
    with fix_date():
        return tokenizer.apply_chat_template(
            messages if len(messages) > 1 else messages[0],
            tools=tools,
            add_generation_prompt=prompt,
            continue_final_message=first.is_begun,
            **arguments,
        )


def explain_lost_spaces() -> str:
    """Return why the spaces at the end of a begun answer are lost here; empty if they are not."""
    installed = transformers.__version__
    if Version(installed) >= _KEEPS_SPACES:
        return ""
    return f"transformers {installed} removes the spaces at the end of a begun answer"


def record_chats(model: Tokenization, chats: Sequence[RenderedChat]) -> dict[str, RecordedChat]:
    """Return rendered conversations in the form that is recorded, as a model would be given them.

    >>> model = load("embedded")
    >>> record_chats(model, render_chats(model))["a question"].text
    '<s>[INST] Who painted the Mona Lisa? [/INST][ANSWER]'
    """
    used = (each for each in chats if each.is_used)
    return {
        each.conversation: RecordedChat(
            text=each.text,
            ids=()
            if each.text is None
            else tuple(model.encode(each.text, add_special_tokens=False)),
        )
        for each in used
    }


def judge_chat(name: str, recorded: RecordedChat, now: RecordedChat) -> Finding:
    """Judge a rendered conversation by the recorded one: it may not differ.

    >>> judge_chat("a", RecordedChat(text="[INST] Hi"), RecordedChat(text="[INST]Hi")).reason
    "a: rendered as '[INST]Hi' at character 6, recorded '[INST] Hi'"
    """
    change = recorded.find_change(now)
    if change is None:
        return Finding(name, OutputStatus.SAME, 0.0, recorded.text or "", now.text or "")
    old, new = ("refused" if each is None else repr(each) for each in (change.old, change.new))
    reason = (
        f"{name}: the text is the same, its ids are {new}, recorded {old}"
        if change.place is None
        else f"{name}: rendered as {new} at character {change.place}, recorded {old}"
    )
    return Finding(name, OutputStatus.CHANGED, 0.0, change.old or "", change.new or "", reason)
