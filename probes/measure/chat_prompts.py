"""The prompt for an answer, against the conversation that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.data.conversations import CONVERSATIONS
from probes.measure.chat import render_chat
from probes.measure.own_template import read_own_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.chat import RenderedChat


@dataclass(frozen=True)
class PromptedChat:
    """What ends a prompt, and what an answer begins with in the conversation that has one."""

    conversation: str
    prompt: str | None
    """What `add_generation_prompt` adds; None where the template rewrites what came before it."""
    answer: str | None
    """What an answer adds; None as for the prompt."""
    opens_answer: bool | None
    """Whether the conversation with an answer begins with the prompt; None where the template
    itself writes an answer otherwise."""


def compare_prompts_with_answers(
    model: TransformersEngine, chats: Sequence[RenderedChat]
) -> list[PromptedChat]:
    """Compare the prompt for an answer with the same conversation after an answer.

    A template may write an answer that was given otherwise than one that is to come, without its
    reasoning for example.

    >>> from probes.measure.chat import render_chats
    >>> model = load("embedded")
    >>> compare_prompts_with_answers(model, render_chats(model))[0]
    PromptedChat(conversation='a question', prompt='[ANSWER]', ..., opens_answer=True)
    """
    own, found = read_own_template(model), []
    plain = {each.conversation: each.text for each in chats if not each.prompt}
    for chat in chats:
        before = plain[chat.conversation]
        if not chat.prompt or chat.text is None or before is None:
            continue
        answered = CONVERSATIONS[chat.conversation].answered()
        whole = render_chat(model, own, chat.conversation, answered, prompt=False)
        opens: bool | None = None
        if whole.own is not None and chat.own is not None and whole.own.startswith(chat.own):
            opens = whole.text is not None and whole.text.startswith(chat.text)
        found.append(
            PromptedChat(
                chat.conversation,
                _cut_start(chat.text, before),
                None if whole.text is None else _cut_start(whole.text, before),
                opens,
            )
        )
    return found


def _cut_start(text: str, start: str) -> str | None:
    return text[len(start) :] if text.startswith(start) else None
