"""A rendered conversation, in the form that is recorded and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probes.schema.base import Stored

AROUND = 24
"""Characters shown before and after the first difference of two texts."""

IDS_SHOWN = 8


class RecordedChat(Stored):
    """A conversation under a chat template, with the prompt for an answer where one is to come."""

    text: str | None
    """The rendered text; none where the template refuses the conversation."""
    ids: tuple[int, ...] = ()
    """Its token ids."""

    def find_change(self, new: RecordedChat) -> ChatChange | None:
        """Return the first difference from this chat to a new one; None if there is none.

        >>> old = RecordedChat(text="[INST] Hi [/INST]", ids=(1, 2))
        >>> old.find_change(RecordedChat(text="[INST]Hi [/INST]", ids=(1, 2)))
        ChatChange(place=6, old='[INST] Hi [/INST]', new='[INST]Hi [/INST]')
        """
        if self.text != new.text:
            if self.text is None or new.text is None:
                texts = (None if t is None else _cut(t, 0) for t in (self.text, new.text))
                return ChatChange(0, *texts)
            place = count_common(self.text, new.text)
            return ChatChange(place, _cut(self.text, place), _cut(new.text, place))
        if self.ids != new.ids:
            place = count_common(self.ids, new.ids)
            return ChatChange(None, *(_list(ids, place) for ids in (self.ids, new.ids)))
        return None


@dataclass(frozen=True)
class ChatChange:
    """Where a rendered conversation differs from an earlier one."""

    place: int | None
    """Characters before the first difference; None where the text is the same, and the ids are
    not."""
    old: str | None
    """The text around it, or the ids from it on; None where the template refused."""
    new: str | None


def show_difference(old: str, new: str) -> str:
    """Describe where one text first differs from another.

    >>> show_difference("[INST] Hi", "[INST]Hi")
    "at character 6 '[INST]Hi', not '[INST] Hi'"
    """
    place = count_common(old, new)
    return f"at character {place} {_cut(new, place)!r}, not {_cut(old, place)!r}"


def count_common(old: Sequence[object], new: Sequence[object]) -> int:
    """Return how many items two lists or texts have in common at their start.

    >>> count_common([1, 2, 3], [1, 2, 4])
    2
    """
    pairs = zip(old, new, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _cut(text: str, place: int) -> str:
    begin, end = max(0, place - AROUND), place + AROUND
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _list(ids: Sequence[int], place: int) -> str:
    shown = " ".join(map(str, ids[place : place + IDS_SHOWN]))
    return f"{'… ' if place else ''}{shown}{' …' if place + IDS_SHOWN < len(ids) else ''}"
