"""The token ids of conversations, in every form in which `apply_chat_template` returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.data.conversations import CONVERSATIONS
from probes.measure.chat import apply_template
from probes.schema.recorded_chat import count_common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.chat import RenderedChat

WAYS: dict[str, dict[str, Any]] = {
    "by default": {},
    "return_dict=True": {"return_dict": True},
    "return_dict=False": {"return_dict": False},
    "return_tensors='pt'": {"return_dict": True, "return_tensors": "pt"},
}
"""Arguments with which token ids are asked for."""

SHOWN = 8
"""Ids in a message."""

IN_BATCH = ("by default", "return_dict=True", "return_dict=False")
"""Those that are asked for of several conversations too: they differ in length."""


@dataclass(frozen=True)
class ChatIds:
    """Token ids that `apply_chat_template` gives for a conversation, or for several."""

    names: list[str]
    """Of the conversation, or of those of a batch."""
    way: str
    """The form in which they were asked for."""
    kind: str
    """The type in which they come."""
    complaint: str
    """What is wrong with them; empty if nothing is."""


def compare_chat_ids(model: TransformersEngine, chats: Sequence[RenderedChat]) -> list[ChatIds]:
    """Compare the ids of `apply_chat_template` with those of the rendered text, in every form.

    >>> from probes.measure.chat import render_chats
    >>> model = load("embedded")
    >>> found = compare_chat_ids(model, render_chats(model))
    >>> found[2].way, found[2].kind, found[2].complaint
    ('return_dict=False', 'list of ids', '')
    """
    rendered = [chat for chat in chats if chat.text is not None]
    batch = [c for c in rendered if c.prompt and not CONVERSATIONS[c.conversation].tools]
    found = [_compare(model, [chat], way) for chat in rendered for way in WAYS]
    return found + [_compare(model, batch, way) for way in IN_BATCH if len(batch) > 1]


def list_types(found: Sequence[ChatIds]) -> dict[str, str]:
    """Return the type in which ids come, by the form in which they were asked for.

    >>> list_types([ChatIds(["a"], "by default", "list of ids", "")])
    {'by default': 'list of ids'}
    """
    return {each.way + (", in a batch" if len(each.names) > 1 else ""): each.kind for each in found}


def _compare(model: TransformersEngine, chats: Sequence[RenderedChat], way: str) -> ChatIds:
    names = [chat.name for chat in chats]
    value = ask_ids(model, chats, WAYS[way])
    kind, rows = describe_type(value), read_rows(value)
    expected = [model.encode(chat.text or "", add_special_tokens=False) for chat in chats]
    complaint = ""
    wants_dict = WAYS[way].get("return_dict")
    if wants_dict is not None and isinstance(value, Mapping) is not wants_dict:
        complaint = f"what comes back is a {kind}"
    elif rows is None or len(rows) != len(expected):
        complaint = f"what comes back, a {kind}, has no ids of {len(expected)} conversations"
    elif rows != expected:
        row = next(n for n, ids in enumerate(rows) if ids != expected[n])
        place = count_common(rows[row], expected[row])
        complaint = (
            f"ids {rows[row][place : place + SHOWN]} from position {place} on, those of the "
            f"rendered text are {expected[row][place : place + SHOWN]}"
        )
        names = [names[row]]
    if complaint:
        many = " in a batch" if len(chats) > 1 else ""
        complaint = f"{names[0]}{many}, {way}: {complaint}"
    return ChatIds([chat.name for chat in chats], way, kind, complaint)


def ask_ids(
    model: TransformersEngine, chats: Sequence[RenderedChat], arguments: Mapping[str, Any]
) -> Any:
    """Return what `apply_chat_template` gives for one conversation, or for those of a batch."""
    conversations = [CONVERSATIONS[chat.conversation] for chat in chats]
    return apply_template(model, conversations, prompt=chats[0].prompt, tokenize=True, **arguments)


def read_rows(value: Any) -> list[list[int]] | None:
    """Return the ids in what came back, a row a conversation; None where it has none.

    >>> read_rows({"input_ids": [1, 2]}), read_rows([[1], [2]]), read_rows("ids")
    ([[1, 2]], [[1], [2]], None)
    """
    ids: Any = value.get("input_ids") if isinstance(value, Mapping) else value
    ids = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(ids, list):
        return None
    rows = ids if ids and all(isinstance(row, list) for row in ids) else [ids]
    return rows if all(isinstance(token, int) for row in rows for token in row) else None


def describe_type(value: Any) -> str:
    """Return the type of what came back, for a reader.

    >>> describe_type([1, 2]), describe_type({"input_ids": [[1], [2]]})
    ('list of ids', 'dict of list of list of ids')
    """
    if isinstance(value, Mapping):
        return f"{type(value).__name__} of {describe_type(value.get('input_ids'))}"
    if isinstance(value, list) and value:
        return f"list of {'ids' if isinstance(value[0], int) else describe_type(value[0])}"
    return type(value).__name__
