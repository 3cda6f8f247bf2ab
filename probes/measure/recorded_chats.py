"""Rendered conversations as recorded outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.schema.recorded_chat import RecordedChat
from probes.stats.near_tie import Finding, OutputStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Tokenization
    from probes.measure.chat import RenderedChat


def record_chats(model: Tokenization, chats: Sequence[RenderedChat]) -> dict[str, RecordedChat]:
    """Return rendered conversations in the form that is recorded, as a model would be given them.

    >>> from probes import load
    >>> from probes.measure.chat import render_chats
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
