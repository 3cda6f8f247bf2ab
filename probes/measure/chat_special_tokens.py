"""BOS and the other special tokens of rendered conversations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.measure.chat_ids import ask_ids, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.chat import RenderedChat


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
        rows = read_rows(ask_ids(model, [chat], {"return_dict": True}))
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


@dataclass(frozen=True)
class SpelledToken:
    """A special token that a rendered conversation contains."""

    conversation: str
    token: str
    id: int
    """As tokenizer.json says."""
    pieces: list[str]
    """What the library makes of it; empty where its id is among those of the conversation."""

    def complain(self) -> str:
        """Describe where it is encoded as plain text; else empty."""
        if not self.pieces:
            return ""
        return f"{self.conversation}: {self.token} is encoded as {self.pieces}, not as id {self.id}"


def find_special_tokens(
    model: TransformersEngine, chats: Sequence[RenderedChat]
) -> list[SpelledToken]:
    """Find the special tokens of tokenizer.json in rendered conversations, and in their ids.

    >>> from probes.measure.chat import render_chats
    >>> model = load("embedded")
    >>> find_special_tokens(model, render_chats(model))[0]
    SpelledToken(conversation='a question', token='<s>', id=1, pieces=[])
    """
    added = (model.tokenizer_files.parts or {}).get("added_tokens") or []
    every = {str(token["content"]): token for token in added if token.get("content")}
    if not every:
        return []
    # The longest first: another token may be the beginning of it.
    pattern = re.compile("|".join(map(re.escape, sorted(every, key=len, reverse=True))))
    found = []
    for chat in chats:
        if chat.text is None:
            continue
        ids = model.encode(chat.text, add_special_tokens=False)
        for content in dict.fromkeys(pattern.findall(chat.text)):
            token = every[content]
            plain = ("normalized", "single_word", "lstrip", "rstrip")
            if not token.get("special") or any(token.get(name) for name in plain):
                continue  # where it begins and ends depends on the text around it
            pieces = (
                []
                if token["id"] in ids
                else model.tokens(model.encode(content, add_special_tokens=False))
            )
            found.append(SpelledToken(chat.name, content, int(token["id"]), pieces))
    return found
