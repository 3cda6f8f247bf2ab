"""Compare the token ids of an engine with those of a reference."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.measure.engine_records import is_record
from probes.measure.greedy_differences import count_common_start

_SHOWN = 6
"""Pieces that a message shows."""

_CLASSES = {"N": "a digit", "L": "a letter", "M": "a mark", "P": "punctuation", "S": "a symbol"}
"""Kinds of characters, by the first letter of their Unicode category."""

_DIGITS = {"type": "Digits", "individual_digits": True}
_THREE_DIGITS = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated"}
_SPACES = [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
]

MISSING: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Digits(individual_digits=True)": lambda parts: _cut_first(parts, _DIGITS),
    "a split of digits into threes": lambda parts: _cut_first(
        parts, _THREE_DIGITS | {"invert": False}
    ),
    "a space before texts that begin with one": lambda _: {
        "pre_tokenizer": None,
        "normalizer": {"type": "Sequence", "normalizers": _SPACES},
    },
    "the normalizer NFC": lambda parts: {
        "normalizer": _in_sequence("normalizers", {"type": "NFC"}, parts.get("normalizer"))
    },
}
"""What a conversion of a tokenizer may lose, and the parts of tokenizer.json that have it."""


def _cut_first(parts: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    return {"pre_tokenizer": _in_sequence("pretokenizers", step, parts.get("pre_tokenizer"))}


def _in_sequence(name: str, *steps: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"type": "Sequence", name: [step for step in steps if step is not None]}


@dataclass(frozen=True)
class IdDifference:
    """A text that an engine and its reference encode differently."""

    text: str
    engine: list[int]
    reference: list[int]
    special_tokens: bool
    engine_pieces: list[str]
    """Pieces of the engine's ids from the first that differs."""
    reference_pieces: list[str]
    where: str
    """What kinds of characters differ, and before what."""

    def describe(self) -> str:
        """Return the first difference in one line."""
        special = "with" if self.special_tokens else "without"
        place = count_common_start(self.engine, self.reference)
        return (
            f"{self.text[:60]!r} has {len(self.engine)} ids on the engine and "
            f"{len(self.reference)} on the reference, {special} special tokens, and they differ "
            f"from number {place}: {self.engine[place : place + _SHOWN]} {self.engine_pieces}, "
            f"not {self.reference[place : place + _SHOWN]} {self.reference_pieces}"
        )


def compare_chats(
    engine: Any, reference: Any, chats: Sequence[Sequence[Mapping[str, str]]]
) -> list[IdDifference]:
    """Return the chats whose prompts have other ids on an engine, by the end of their texts.

    Both render them under their own chat template, up to where an answer begins.
    """
    found = []
    for chat in chats:
        text = reference.render_chat(chat)
        own = reference.encode(text, add_special_tokens=False)
        ids = engine.encode_messages(chat)
        if ids != own:
            found.append(_describe(reference, text, ids, own, special_tokens=True))
    return found


def compare_ids(
    engine: Any, reference: Any, texts: Sequence[str], *, special_tokens: bool
) -> list[IdDifference]:
    """Return the texts that an engine and its reference encode differently, the shortest first.

    >>> compare_ids(load("embedded"), load("embedded"), ["Hello world"], special_tokens=True)
    []
    """
    encode_all = getattr(engine, "encode_all", None)
    if encode_all is not None:
        found = encode_all(texts, add_special_tokens=special_tokens)
    else:
        found = [engine.encode(text, add_special_tokens=special_tokens) for text in texts]
    pairs = zip(texts, found, strict=True)
    differing = [
        _describe(reference, text, ids, own, special_tokens=special_tokens)
        for text, ids in pairs
        if ids != (own := reference.encode(text, add_special_tokens=special_tokens))
    ]
    return sorted(differing, key=lambda each: len(each.text))


def _describe(
    reference: Any, text: str, ids: list[int], own: list[int], *, special_tokens: bool
) -> IdDifference:
    start = count_common_start(ids, own)
    end = count_common_start(ids[start:][::-1], own[start:][::-1])
    engine_pieces, own_pieces = (
        _pieces(reference, each[start : start + _SHOWN]) for each in (ids, own)
    )
    if is_record(reference):
        return IdDifference(text, ids, own, special_tokens, engine_pieces, own_pieces, "")
    begin = len(reference.decode(own[:start], skip_special_tokens=True))
    stop = len(text) - len(reference.decode(own[len(own) - end :], skip_special_tokens=True))
    return IdDifference(
        text, ids, own, special_tokens, engine_pieces, own_pieces, describe_place(text, begin, stop)
    )


def _pieces(reference: Any, ids: Sequence[int]) -> list[str]:
    known = [each for each in ids if 0 <= each < reference.token_count]
    return [str(piece) for piece in reference.tokens(known)]


def describe_place(text: str, begin: int, stop: int) -> str:
    r"""Return what kinds of characters are between two places of a text, and before what.

    >>> describe_place("a\n\n33", 1, 3), describe_place("e\u0301", 0, 2)
    ('white space before a digit', 'a letter and a mark at the end')
    """
    kinds = list(dict.fromkeys(_kind(each) for each in text[begin : max(stop, begin + 1)]))
    after = text[max(stop, begin + 1) :]
    end = f"before {_kind(after[0])}" if after else "at the end"
    return f"{' and '.join(kinds[:3]) or 'nothing'} {end}"


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if character.isspace():
        return "white space"
    return _CLASSES.get(category[0], "another character")


def explain_ids(
    reference: Any, texts: Sequence[str], differing: Sequence[IdDifference], *, special_tokens: bool
) -> str:
    """Name what would make a reference's ids the engine's: a step that its tokenizer lacks.

    A step is named where with it all ids agree. Else the most common kind of place is named. A
    record as the reference tells neither.

    >>> model, text = load("embedded"), "a 1"
    >>> odd = IdDifference(text, [264], [], False, [], [], "white space before a digit")
    >>> explain_ids(model, [text], [odd], special_tokens=False)
    'all at white space before a digit'
    """
    if is_record(reference):
        return "by its record"
    engine = {each.text: each.engine for each in differing}
    for name, change in MISSING.items():
        changed = _change_tokenizer(reference, change)
        if changed is not None and all(
            changed.encode(text, add_special_tokens=special_tokens).ids
            == (engine.get(text) or reference.encode(text, add_special_tokens=special_tokens))
            for text in texts
        ):
            file, origin = reference.target.gguf, ""
            if file is not None:
                origin = f", as transformers reads it from {file.name},"
            return f"the reference's tokenizer{origin} lacks {name}: with it all ids agree"
    [(where, count)] = Counter(each.where for each in differing).most_common(1)
    return f"{'all' if count == len(differing) else f'{count}'} at {where}"


def _change_tokenizer(reference: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a reference's tokenizer with other parts; None if it cannot have them."""
    backend = getattr(reference.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    from tokenizers import Tokenizer

    content = json.loads(backend.to_str())
    try:
        changed: Any = Tokenizer.from_str(json.dumps(content | change(content)))
    except Exception:  # it knows no such parts; the Rust library raises plain Exception
        return None
    changed.no_padding()
    changed.no_truncation()
    return changed
