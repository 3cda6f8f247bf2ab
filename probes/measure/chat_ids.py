"""The token ids of conversations: in every form that `apply_chat_template` returns, and of BOS."""

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


@dataclass(frozen=True)
class BosCount:
    """How often BOS is in a rendered conversation."""

    conversation: str
    template: int
    """As often as the template writes it."""
    tokenized: int
    """In the ids that `apply_chat_template` gives."""
    encoded: int
    """In the rendered text, encoded without special tokens."""
    encoded_with_special_tokens: int
    """In the rendered text, encoded like any text: the tokenizer may insert one more."""
    inserted: int
    """What it inserts before or after any text."""

    def complain(self) -> str:
        """Describe where BOS comes more or less often than the template writes it; else empty."""
        for count, how in (
            (self.tokenized, "in the ids of apply_chat_template"),
            (self.encoded, "in the rendered text, encoded without special tokens"),
        ):
            if count != self.template:
                return f"{self.conversation}: BOS comes {_times(count)} {how}, " + (
                    f"but the template writes it {_times(self.template)}"
                )
        with_special = self.encoded_with_special_tokens
        if not self.template <= with_special <= self.template + self.inserted:
            return (
                f"{self.conversation}: BOS comes {_times(with_special)} in the rendered text, "
                f"encoded with special tokens: the template writes it {_times(self.template)}, "
                f"the tokenizer inserts it {_times(self.inserted)}"
            )
        return ""


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def count_bos(model: TransformersEngine, chats: Sequence[RenderedChat]) -> list[BosCount]:
    """Count BOS in the conversations that were rendered.

    >>> from probes import load
    >>> from probes.measure.chat import render_chats
    >>> model = load("embedded")
    >>> count_bos(model, render_chats(model))[0]
    BosCount(conversation='a question', template=1, tokenized=1, encoded=1, ...)
    """
    tokenizer = model.tokenizer
    bos, bos_id = str(tokenizer.bos_token), tokenizer.bos_token_id
    inserted = model.encode("a").count(bos_id)
    found = []
    for chat in chats:
        if chat.text is None:
            continue
        rows = _read_rows(_read_ids(_ask(model, [chat], WAYS["return_dict=True"])))
        found.append(
            BosCount(
                chat.name,
                (chat.text if chat.own is None else chat.own).count(bos),
                sum(row.count(bos_id) for row in rows or ()),
                model.encode(chat.text, add_special_tokens=False).count(bos_id),
                model.encode(chat.text).count(bos_id),
                inserted,
            )
        )
    return found


def compare_chat_ids(model: TransformersEngine, chats: Sequence[RenderedChat]) -> list[ChatIds]:
    """Compare the ids of `apply_chat_template` with those of the rendered text, in every form.

    >>> from probes import load
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
    value = _ask(model, chats, WAYS[way])
    kind, rows = describe_type(value), _read_rows(_read_ids(value))
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


def _ask(
    model: TransformersEngine, chats: Sequence[RenderedChat], arguments: Mapping[str, Any]
) -> Any:
    conversations = [CONVERSATIONS[chat.conversation] for chat in chats]
    return apply_template(model, conversations, prompt=chats[0].prompt, tokenize=True, **arguments)


def _read_ids(value: Any) -> Any:
    return value.get("input_ids") if isinstance(value, Mapping) else value


def _read_rows(ids: Any) -> list[list[int]] | None:
    """Return ids as rows; None where they are no ids.

    >>> _read_rows([1, 2]), _read_rows([[1], [2]]), _read_rows("ids")
    ([[1, 2]], [[1], [2]], None)
    """
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
